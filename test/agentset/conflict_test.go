/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func stalled(w *harness.World, set, reason string, words ...string) {
	w.Helper()
	w.SetBecomes(set, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, words...)
}

func TestAnotherOwnersAgentIsNeverWritten(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	name := agentset.AgentName("logs", w.Node("a"))
	w.Apply(name)
	before := w.Ready(name)
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	stalled(w, "logs", v1alpha1.ReasonAgentConflict, name, "delete it")
	w.Eventually("the other node has its Agent", func() error {
		if len(w.AgentsOf("logs")) != 1 {
			return fmt.Errorf("%d Agents", len(w.AgentsOf("logs")))
		}
		return nil
	})
	if after := w.Get(name); after.Generation != before.Generation || after.OwnerReferences != nil || after.Labels != nil {
		t.Errorf("it was written: %+v", after)
	}
	if ids, _ := w.StoredSessions(w.GetSet("logs")); ids[w.Node("a")] != "" {
		t.Error("its session is in the set's Secret")
	}
	w.Delete(name)
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
}

// A user who labels an Agent for a set hands it over to the set. That is how imported agents, and those of a deleted set, join.
func TestALabeledAgentIsAdopted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	theirs := w.Register("former", "machine-elsewhere-a")
	name := agentset.AgentName("logs", w.Node("a"))
	w.Apply(name, func(a *v1alpha1.Agent) {
		a.Labels = map[string]string{v1alpha1.LabelAgentSet: "logs"}
		a.Spec.AgentID, a.Spec.SyncPolicy = theirs.ID, v1alpha1.SyncObserve
	})
	w.Ready(name)
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
	if got := w.Get(name).Status; got.ID != theirs.ID || got.MachineID != "machine-elsewhere-a" {
		t.Errorf("the Agent has %s with the machine ID %s", got.ID, got.MachineID)
	}

	policy := client.PropagationPolicy(metav1.DeletePropagationOrphan)
	if err := w.Client.Delete(t.Context(), w.GetSet("logs"), policy); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the Agents have no owner", func() error {
		for _, agent := range w.AgentsOf("logs") {
			if len(agent.OwnerReferences) > 0 {
				return fmt.Errorf("%s has", agent.Name)
			}
		}
		var set v1alpha1.AgentSet
		if err := w.Client.Get(t.Context(), w.Key("logs"), &set); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the set still exists: %w", err)
		}
		return nil
	})
	w.Cloud.ResetRequests()
	w.AgentSet("logs", "fluent-bit")
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d agents were registered again", n)
	}
}

func TestAnotherOwnersSecretIsNeverWritten(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		make func(w *harness.World, set *v1alpha1.AgentSet) *corev1.Secret
	}{
		{"a Secret of a user", func(*harness.World, *v1alpha1.AgentSet) *corev1.Secret { return &corev1.Secret{} }},
		{"the label without the owner", func(_ *harness.World, set *v1alpha1.AgentSet) *corev1.Secret {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{v1alpha1.LabelAgentSetUID: string(set.UID)}}}
		}},
		{"the owner without the label", func(_ *harness.World, set *v1alpha1.AgentSet) *corev1.Secret {
			return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{agentset.OwnerReference(set)}}}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			w.Nodes("a")
			w.AgentSet("logs", w.DaemonSet("fluent-bit"))
			theirs := row.make(w, w.GetSet("logs"))
			theirs.Namespace, theirs.Name, theirs.Data = w.Namespace, "logs-sessions-0", map[string][]byte{"key": []byte("value")}
			w.Create(theirs)
			w.Start()
			stalled(w, "logs", v1alpha1.ReasonSecretConflict, "logs-sessions-0", "spec.sessions.secretName")
			if is := w.Secret("logs-sessions-0"); is.ResourceVersion != theirs.ResourceVersion {
				t.Errorf("it was written: %v", is)
			}
			if err := w.Client.Delete(t.Context(), theirs); err != nil {
				t.Fatal(err)
			}
			w.SetReady("logs", 1)
			w.HasExactly("logs", w.Node("a"))
		})
	}
}

func TestAnEditedSessionIsWrittenAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	for name, edit := range map[string]func(*corev1.Secret){
		"a session is removed": func(s *corev1.Secret) { delete(s.Data, w.Node("a")+"."+tokensecret.SessionKey) },
		"the session of another node": func(s *corev1.Secret) {
			s.Data[w.Node("a")+"."+tokensecret.SessionKey] = s.Data[w.Node("b")+"."+tokensecret.SessionKey]
		},
		"a configuration is edited":     func(s *corev1.Secret) { s.Data[w.Node("a")+"."+tokensecret.YAMLKey] = []byte("pipeline:") },
		"a session of no node is added": func(s *corev1.Secret) { s.Data["stranger."+tokensecret.SessionKey] = []byte("x") },
	} {
		w.Clock.Step(time.Minute) // Skips the pause before the next batch.
		right := maps.Clone(w.Secret("logs-sessions-0").Data)
		secret := w.Secret("logs-sessions-0")
		edit(secret)
		if err := w.Client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		w.Eventually(name+": it is corrected", func() error {
			is := w.Secret("logs-sessions-0")
			for key, value := range right {
				if string(is.Data[key]) != string(value) {
					return fmt.Errorf("%s has another value", key)
				}
			}
			if len(is.Data) != len(right) {
				return fmt.Errorf("%d keys, want %d", len(is.Data), len(right))
			}
			return nil
		})
	}
	w.Clock.Step(time.Minute)
	if err := w.Client.Delete(t.Context(), w.Secret("logs-sessions-0")); err != nil {
		t.Fatal(err)
	}
	w.HasExactly("logs", keys(w, "a", "b")...)
}

// olderThanTheNext waits until sets that are created are younger than one: times of objects are whole seconds.
func olderThanTheNext(w *harness.World, name string) {
	w.Helper()
	w.Eventually("a second has passed", func() error {
		if since := time.Since(w.GetSet(name).CreationTimestamp.Time); since < 1100*time.Millisecond {
			return fmt.Errorf("only %s", since)
		}
		return nil
	})
}

func TestTwoSetsOnOneDaemonSet(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a")
	w.AgentSet("aaa", w.DaemonSet("fluent-bit"))
	w.SetReady("aaa", 1)
	olderThanTheNext(w, "aaa")
	w.AgentSet("younger", "fluent-bit")
	stalled(w, "younger", v1alpha1.ReasonTargetConflict, `DaemonSet "fluent-bit"`, `older AgentSet "aaa"`)
	w.HasExactly("aaa", w.Node("a"))
	if err := w.Client.Delete(t.Context(), w.GetSet("aaa")); err != nil {
		t.Fatal(err)
	}
	w.SetReady("younger", 1)
	w.HasExactly("younger", w.Node("a"))
}

// A set loses its workload to an older one: its Agents stay, and their sessions are renewed, until that is resolved.
func TestASetThatLosesItsTarget_RenewsSessions(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a")
	w.DaemonSet("two")
	w.AgentSet("older", w.DaemonSet("one"))
	w.SetReady("older", 1)
	olderThanTheNext(w, "older")
	w.AgentSet("younger", "two")
	w.SetReady("younger", 1)
	w.ChangeSet("older", func(s *v1alpha1.AgentSet) { s.Spec.TargetRef.Name = "two" })
	stalled(w, "younger", v1alpha1.ReasonTargetConflict, `older AgentSet "older"`)
	agent := w.AgentsOf("younger")[w.Node("a")]
	w.Cloud.Remove(agent.Status.ID)
	w.Poke(agent.Name)
	w.Eventually("the session is of the agent that was registered again", func() error {
		ids, _ := w.StoredSessions(w.GetSet("younger"))
		if now := w.Get(agent.Name).Status.ID; now == agent.Status.ID || ids[w.Node("a")] != now {
			return fmt.Errorf("it is of %s, the agent is %s", ids[w.Node("a")], now)
		}
		return nil
	})
	stalled(w, "younger", v1alpha1.ReasonTargetConflict, `older AgentSet "older"`)
}

func TestWithoutAccessToNodesTheConditionNamesIt(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.WithoutNodes = true
	w.Start()
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	stalled(w, "logs", v1alpha1.ReasonAgentSetsDisabled, "agentSets.enabled")
}

func TestASessionThatNoFluentBitCouldUseIsRefusedBeforeAnythingIsRegistered(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.URL += "/calyptia" })
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	stalled(w, "logs", v1alpha1.ReasonInvalid, "no path")
	if agents := w.AgentsOf("logs"); len(agents) > 0 {
		t.Errorf("there are Agents: %v", agents)
	}
}

func TestATemplateThatTheServerRefusesStallsTheSet(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Metadata.Labels = map[string]string{"not a label!": "x"}
	})
	stalled(w, "logs", v1alpha1.ReasonInvalid, "spec.template")
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Template.Metadata.Labels = nil })
	w.SetReady("logs", 2)
}

// The API server accepts what a full Secret holds.
func TestAFullSecretIsTaken(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	set := w.NewAgentSet("logs", "fluent-bit")
	w.Create(set)
	for _, row := range []struct{ key, value int }{{12, 300}, {40, 300}, {63, 60}, {12, 100_000}} {
		data, size := map[string][]byte{}, 0
		for i := 0; ; i++ {
			slot := fmt.Sprintf("%0*d", row.key, i)
			entry := tokensecret.Entry(slot, map[string][]byte{
				tokensecret.SessionKey: make([]byte, row.value), tokensecret.YAMLKey: make([]byte, row.value), tokensecret.ClassicKey: make([]byte, row.value),
			})
			if size += agentset.Size(entry); size > 1_000_000 {
				t.Logf("%d sessions with keys of %d and values of %d bytes", i, row.key, 3*row.value)
				break
			}
			maps.Copy(data, entry)
		}
		secret := tokensecret.NewShard(set, fmt.Sprintf("full-%d-%d", row.key, row.value), agentset.OwnerReference(set), data)
		w.Create(secret)
	}
}

// A write between the operator's read of an Agent and its patch is not lost, in particular a registration intent.
func TestAConcurrentAnnotationIsNotLost(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 1)
	name := agentset.AgentName("logs", w.Node("a"))
	w.Change(name, func(a *v1alpha1.Agent) { a.Annotations = nil })
	var once sync.Once
	w.API.Before(func(r *http.Request) error {
		if r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/json-patch+json" && strings.HasSuffix(r.URL.Path, name) {
			once.Do(func() {
				w.Change(name, func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/meanwhile", "yes") })
			})
		}
		return nil
	})
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Spec.Version = "v4.1.0"
		set.Spec.Template.Metadata.Annotations = map[string]string{"example.com/template": "yes"}
	})
	w.SetReady("logs", 1)
	if a := w.Get(name); a.Annotations["example.com/meanwhile"] != "yes" || a.Annotations["example.com/template"] != "yes" || a.Spec.Version != "v4.1.0" {
		t.Errorf("the Agent has the annotations %v and the version %s", a.Annotations, a.Spec.Version)
	}
}

// The cache leaves out what kubectl applied last: an Agent that has no other annotation looks as if it had none.
func TestTheAnnotationOfKubectlApplyIsNotWritten(t *testing.T) {
	t.Parallel()
	const theirs, copied, others = `{"kind":"Agent"}`, `{"kind":"AgentSet"}`, "example.com/template"
	for _, row := range []struct {
		name     string
		template map[string]string
		change   func(w *harness.World)
	}{
		{"the template has annotations", map[string]string{others: "yes"}, func(*harness.World) {}},
		{"the node is removed", nil, func(w *harness.World) { w.RemoveNode("a") }},
		{"the template has the annotation", map[string]string{corev1.LastAppliedConfigAnnotation: copied}, func(*harness.World) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Nodes("a")
			name := agentset.AgentName("logs", w.Node("a"))
			w.Apply(name, func(a *v1alpha1.Agent) {
				a.Labels = map[string]string{v1alpha1.LabelAgentSet: "logs"}
				a.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: theirs}
				a.Spec.AgentID = w.Register("former", "machine-elsewhere").ID
			})
			w.Ready(name)
			w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) { set.Spec.Template.Metadata.Annotations = row.template })
			w.SetReady("logs", 1)
			row.change(w)
			w.Eventually("the annotations are written", func() error {
				got := w.Get(name).Annotations
				if _, marked := got[v1alpha1.AnnotationRemovalStarted]; !marked && row.template == nil {
					return fmt.Errorf("%v", got)
				}
				return nil
			})
			if got := w.Get(name).Annotations; got[corev1.LastAppliedConfigAnnotation] != theirs || got[others] != row.template[others] {
				t.Errorf("the annotations are %v", got)
			}
		})
	}
}
