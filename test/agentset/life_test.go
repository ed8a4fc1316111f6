/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// delay sets the removal delay of a set.
func delay(d time.Duration) func(*v1alpha1.AgentSet) {
	return func(set *v1alpha1.AgentSet) { set.Spec.RemovalDelay = &metav1.Duration{Duration: d} }
}

// keys are the names of nodes.
func keys(w *harness.World, names ...string) (all []string) {
	for _, name := range names {
		all = append(all, w.Node(name))
	}
	return all
}

func TestEveryNodeHasItsAgentAndSession(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b", "c")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	set := w.SetReady("logs", 3)
	w.HasExactly("logs", keys(w, "a", "b", "c")...)
	if s := set.Status; s.Selector != "cloud.calyptia.com/agentset=logs" || s.Shards != 1 || s.Current != 3 {
		t.Errorf("status %+v", s)
	}
	secret := w.Secret("logs-sessions-0")
	if len(secret.Data) != 9 || len(secret.OwnerReferences) != 1 || secret.OwnerReferences[0].UID != set.UID {
		t.Errorf("the Secret has %d keys and the owners %v", len(secret.Data), secret.OwnerReferences)
	}
	w.SetBecomes("logs", v1alpha1.ConditionReporting, metav1.ConditionFalse, v1alpha1.ReasonAgentsNotReporting, w.Node("a"))

	w.Restart() // A new process has nothing to do: it writes nothing, and repeats only the usual requests.
	w.API.Reset()
	w.Cloud.ResetRequests()
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, "now")
	})
	w.Eventually("the set is synced", func() error {
		if got := w.GetSet("logs").Status.LastHandledReconcileAt; got != "now" {
			return fmt.Errorf("handled %q", got)
		}
		return nil
	})
	writes, conflicts := w.API.Writes()
	writes = slices.DeleteFunc(writes, func(write harness.Write) bool { return strings.Contains(write.Path, "/cloudprojects/") })
	if len(writes) != 1 || conflicts != 0 || !strings.HasSuffix(writes[0].Path, "/agentsets/logs/status") {
		t.Errorf("after a restart it wrote %v, %d conflicts", writes, conflicts)
	}
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("after a restart it registered %d agents", n)
	}
}

func TestNodesComeAndGo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	before := w.AgentsOf("logs")

	begun := time.Now()
	w.Nodes("c")
	w.SetReady("logs", 3)
	t.Logf("from the node to an AgentSet that is Ready: %s", time.Since(begun))
	w.HasExactly("logs", keys(w, "a", "b", "c")...)

	w.RemoveNode("a")
	w.SetReady("logs", 2)
	w.Eventually("the removal of a is recorded", func() error {
		if a := w.AgentsOf("logs")[w.Node("a")]; a.Annotations[v1alpha1.AnnotationRemovalStarted] == "" {
			return fmt.Errorf("annotations %v", a.Annotations)
		}
		return nil
	})
	w.HasExactly("logs", keys(w, "a", "b", "c")...) // within the delay

	w.Nodes("a")
	w.SetReady("logs", 3)
	again := w.AgentsOf("logs")[w.Node("a")]
	if _, marked := again.Annotations[v1alpha1.AnnotationRemovalStarted]; marked || again.Status.ID != before[w.Node("a")].Status.ID {
		t.Errorf("the Agent of a is %+v", again)
	}

	w.RemoveNode("b")
	w.SetReady("logs", 2)
	w.Clock.Step(9 * time.Minute)
	w.HasExactly("logs", keys(w, "a", "b", "c")...)
	w.Clock.Step(2 * time.Minute)
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, "now")
	})
	w.HasExactly("logs", keys(w, "a", "c")...)
	w.Nodes("b")
	w.SetReady("logs", 3)
	w.HasExactly("logs", keys(w, "a", "b", "c")...)
	if late := w.AgentsOf("logs")[w.Node("b")]; late.Status.MachineID != before[w.Node("b")].Status.MachineID {
		t.Errorf("the machine ID of b is %s, and was %s", late.Status.MachineID, before[w.Node("b")].Status.MachineID)
	}
}

func TestTheTemplateReachesAllAgents(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Metadata = v1alpha1.AgentTemplateMeta{Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"example.com/note": "b"}}
		set.Spec.Template.Spec.Flags = []string{"--verbose"}
	})
	w.SetReady("logs", 2)
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		spec := &set.Spec.Template.Spec
		spec.Version, spec.Edition, spec.Flags, spec.RawConfig = "v4.1.0", "enterprise", nil, "[INPUT]\n    name mem\n"
		set.Spec.Template.Metadata.Labels["team"] = "c"
	})
	w.SetReady("logs", 2)
	for key, agent := range w.AgentsOf("logs") {
		s := agent.Spec
		if s.Version != "v4.1.0" || s.Edition != "enterprise" || s.Flags != nil || !strings.Contains(s.RawConfig, "mem") || s.Name != key ||
			agent.Labels["team"] != "c" || agent.Annotations["example.com/note"] != "b" {
			t.Errorf("the Agent of %s is %+v", key, agent)
		}
	}
	for _, remote := range w.Remote() {
		if remote.Version != "v4.1.0" || !strings.Contains(remote.RawConfig, "mem") {
			t.Errorf("the remote agent is %+v", remote)
		}
	}

	name := agentset.AgentName("logs", w.Node("a"))
	w.Change(name, func(a *v1alpha1.Agent) {
		a.Spec.Version, a.Spec.Suspend, a.Labels["mine"] = "v9.9.9", true, "yes"
		delete(a.Labels, "team")
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/mine", "too")
	})
	w.Eventually("the templated fields are corrected, and the others stay", func() error {
		a := w.Get(name)
		if a.Spec.Version != "v4.1.0" || !a.Spec.Suspend || a.Labels["mine"] != "yes" || a.Labels["team"] != "c" || a.Annotations["example.com/mine"] != "too" {
			return fmt.Errorf("%+v", a)
		}
		return nil
	})
}

func TestValuesThatAMergePatchCouldNotWrite(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a")
	w.ConfigMap("fluent-bit", "conf", "[INPUT]\n    name cpu\n")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 1)
	for i, change := range []func(*v1alpha1.AgentSpec){
		func(s *v1alpha1.AgentSpec) { s.Metadata = raw(`{"a": null, "b": {"c": null, "d": [null]}}`) },
		func(s *v1alpha1.AgentSpec) { s.Metadata = raw(`{"b": {}}`) },
		func(s *v1alpha1.AgentSpec) { s.Metadata = nil },
		func(s *v1alpha1.AgentSpec) {
			s.RawConfig, s.RawConfigFrom = "", &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "fluent-bit", Key: "conf"}}
		},
		func(s *v1alpha1.AgentSpec) { s.RawConfig, s.RawConfigFrom = "[INPUT]\n    name dummy\n", nil },
		func(s *v1alpha1.AgentSpec) { s.SessionSecretRef = &v1alpha1.LocalSecretReference{} },
		func(s *v1alpha1.AgentSpec) { s.SessionSecretRef = nil },
	} {
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { change(&set.Spec.Template.Spec) })
		w.SetReady("logs", 1)
		w.API.Reset()
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
			metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, fmt.Sprint(i))
		})
		w.Eventually("the set is synced", func() error {
			if got := w.GetSet("logs").Status.LastHandledReconcileAt; got != fmt.Sprint(i) {
				return fmt.Errorf("handled %q", got)
			}
			return nil
		})
		writes, _ := w.API.Writes()
		for _, write := range writes {
			if strings.Contains(write.Path, "/agents/") && !strings.HasSuffix(write.Path, "/status") {
				t.Errorf("change %d: the Agent is written again: %v", i, write)
			}
		}
	}
}

func TestReplicasOfAStatefulSet(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.AgentSet("logs", w.StatefulSet("aggregator", 2, func(s *appsv1.StatefulSet) { s.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5} }),
		func(set *v1alpha1.AgentSet) { set.Spec.TargetRef.Kind = v1alpha1.TargetStatefulSet }, delay(0))
	w.SetReady("logs", 2)
	w.HasExactly("logs", "aggregator-5", "aggregator-6")
	scale := func(replicas int32) {
		var s appsv1.StatefulSet
		w.Read(w.Key("aggregator"), &s)
		base := s.DeepCopy()
		s.Spec.Replicas = &replicas
		if err := w.Client.Patch(t.Context(), &s, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
	}
	scale(3)
	w.HasExactly("logs", "aggregator-5", "aggregator-6", "aggregator-7")
	scale(1)
	w.HasExactly("logs", "aggregator-5")
	scale(0)
	w.SetReady("logs", 0)
	w.HasExactly("logs")
	scale(2_000_000_000)
	w.SetBecomes("logs", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonTooManyReplicas, "50000")
}

func TestManuallyDeletedAgentsAreRecreated(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	before := w.AgentsOf("logs")
	for _, agent := range before {
		w.Delete(agent.Name)
	}
	w.Eventually("there are new Agents", func() error {
		for key, agent := range w.AgentsOf("logs") {
			if agent.UID == before[key].UID {
				return fmt.Errorf("%s has its former Agent", key)
			}
		}
		return nil
	})
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
	w.Eventually("an event names both nodes", func() error {
		return hasEvent(w, "logs", "SessionsRenewed", w.Node("a"), w.Node("b"))
	})
}

// hasEvent looks for events of a set with this reason that together contain all words.
func hasEvent(w *harness.World, set, reason string, words ...string) error {
	var list eventsv1.EventList
	if err := w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace)); err != nil {
		return err
	}
	var notes []string
	for _, e := range list.Items {
		if e.Regarding.Kind == "AgentSet" && e.Regarding.Name == set && e.Reason == reason {
			notes = append(notes, e.Note)
		}
	}
	for _, word := range words {
		if !strings.Contains(strings.Join(notes, "\n"), word) {
			return fmt.Errorf("no event holds %q: %q", word, notes)
		}
	}
	return nil
}

func TestADeletedSetLeavesNothing(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	if err := w.Client.Delete(t.Context(), w.GetSet("logs")); err != nil {
		t.Fatal(err)
	}
	w.Eventually("everything is deleted", func() error {
		if agents, remote, secret := w.AgentsOf("logs"), w.Remote(), w.Secret("logs-sessions-0"); len(agents)+len(remote) > 0 || secret != nil {
			return fmt.Errorf("%d Agents, %d remote agents, Secret %v", len(agents), len(remote), secret != nil)
		}
		return nil
	})
}

func TestANamespaceIsDeletedWithItsSet(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	if err := w.Client.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the namespace is deleted with its remote agents", func() error {
		err := w.Client.Get(t.Context(), client.ObjectKey{Name: w.Namespace}, &corev1.Namespace{})
		if remote := w.Remote(); !apierrors.IsNotFound(err) || len(remote) > 0 {
			return fmt.Errorf("%d remote agents, and the namespace is there: %w", len(remote), err)
		}
		return nil
	})
}

func TestShardsChange(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	names := []string{"a", "b", "c", "d", "e", "f"}
	w.Nodes(names...)
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", len(names))
	for _, row := range []struct {
		secret string
		shards int32
	}{{"", 4}, {"other", 4}, {"other", 2}, {"", 1}} {
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
			set.Spec.Sessions = v1alpha1.AgentSetSessions{SecretName: row.secret, Shards: row.shards}
		})
		w.HasExactly("logs", keys(w, names...)...)
		w.Eventually("only the Secrets that are needed are left", func() error {
			var secrets corev1.SecretList
			err := w.Client.List(t.Context(), &secrets, client.InNamespace(w.Namespace), client.MatchingLabels{v1alpha1.LabelAgentSet: "logs"})
			if err != nil || len(secrets.Items) > int(row.shards) {
				return fmt.Errorf("%d Secrets, %w", len(secrets.Items), err)
			}
			return nil
		})
		w.Clock.Step(time.Minute) // Skips the pause before the next batch.
	}
	if err := hasEvent(w, "logs", "SessionsRenewed", "node"); err == nil {
		t.Error("a session that moved counts as renewed")
	}
	if agents := slices.Collect(maps.Keys(w.AgentsOf("logs"))); len(agents) != len(names) {
		t.Errorf("Agents of %v", agents)
	}
}

// raw is a JSON value.
func raw(text string) *apiextensionsv1.JSON { return &apiextensionsv1.JSON{Raw: []byte(text)} }
