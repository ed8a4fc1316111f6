/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// withStaying makes a set for two nodes, of which one then starts no new pods. Its pod runs all the time. It returns the Agent of that node.
func withStaying(w *harness.World) *v1alpha1.Agent {
	w.Helper()
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	w.ChangeNode("a", func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule})
	})
	w.SetReady("logs", 2)
	return w.Get(w.AgentsOf("logs")[w.Node("a")].Name)
}

// spec.targetRef names a workload that does not exist for some seconds: no pod is touched, and the Agent of a pod that stays is kept.
func TestTarget_MissingForAMoment_KeepsTheAgentOfAPodThatStays(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	agent := withStaying(w)
	marked := func(wanted bool) {
		w.Eventually(fmt.Sprint("its removal began: ", wanted), func() error {
			if at := w.Get(agent.Name).Annotations[v1alpha1.AnnotationRemovalStarted]; (at != "") != wanted {
				return fmt.Errorf("at %q", at)
			}
			return nil
		})
	}
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.TargetRef.Name = "fluent-bti" })
	marked(true)
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.TargetRef.Name = "fluent-bit" })
	marked(false)
	w.Clock.Step(time.Hour)
	w.SetReady("logs", 2)
	if _, there := w.Cloud.Agent(agent.Status.ID); !there {
		t.Error("the agent of a pod that runs was deleted")
	}
}

// An AgentSet that is deleted without its Agents and created again adopts the Agent of a pod that stays, and keeps its session.
func TestSet_CreatedAgain_KeepsTheSessionOfAPodThatStays(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	agent := withStaying(w)
	set := w.GetSet("logs")
	if err := w.Client.Delete(t.Context(), set, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the set is gone", func() error {
		if err := w.Client.Get(t.Context(), w.Key("logs"), &v1alpha1.AgentSet{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("it is there: %w", err)
		}
		return nil
	})
	w.AgentSet("logs", "fluent-bit")
	w.Eventually("the Agent is adopted", func() error {
		w.Clock.Step(time.Minute)
		if len(w.Get(agent.Name).OwnerReferences) == 0 {
			return errors.New("it has no owner")
		}
		return nil
	})
	w.SetReady("logs", 2)
	if ids, _ := w.StoredSessions(w.GetSet("logs")); ids[w.Node("a")] != agent.Status.ID {
		t.Errorf("the session of the node is that of %q", ids[w.Node("a")])
	}
}

// The number of Secrets is set back to one into which the sessions do not fit: the former Secrets stay, with the only copy of some.
func TestShards_FewerThanTheSessionsNeed_LoseNoSession(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	var names []string
	have := map[int]int{}
	for i := 0; len(names) < 12; i++ {
		name := fmt.Sprint("n", i)
		if shard := agentset.Shard(agentset.Slot(w.Node(name)), 2); have[shard] < 6 {
			have[shard]++
			names = append(names, name)
		}
	}
	w.Nodes(names...)
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) { set.Spec.Sessions.Shards = 2 })
	w.SetReady("logs", len(names))
	for i, a := range w.Remote() { // The tokens are long, so that a few sessions fill a Secret.
		w.Cloud.Mutate(a.ID, func(a *cloud.Agent) {
			a.Token = cloud.NewToken(a.Token.Reveal() + strings.Repeat(fmt.Sprintf("Ab%02d", i), 30_000))
		})
	}
	for _, a := range w.AgentsOf("logs") {
		w.Poke(a.Name)
	}
	former := agentset.SecretName("logs", "", 1)
	size := func(name string) (size int) {
		if secret := w.Secret(name); secret != nil {
			for _, value := range secret.Data {
				size += len(value)
			}
		}
		return size
	}
	w.Eventually("the long tokens are in the sessions", func() error {
		w.Clock.Step(time.Minute)
		if n := size(former); n < 720_000 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	w.SetReady("logs", len(names))
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Sessions.Shards = 1 })
	w.Eventually("one Secret is full", func() error {
		w.Clock.Step(time.Minute)
		if n := size(agentset.SecretName("logs", "", 0)); n < 900_000 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	})
	stalled(w, "logs", v1alpha1.ReasonSessionsTooLarge)
	for _, request := range []string{"1", "2"} { // With nothing left to write.
		w.Clock.Step(time.Hour)
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
			metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, request)
		})
		w.Eventually("a further pass", func() error {
			if got := w.GetSet("logs").Status.LastHandledReconcileAt; got != request {
				return fmt.Errorf("handled is %q", got)
			}
			return nil
		})
	}
	if n := size(former); n < 720_000 {
		t.Errorf("the former Secret has %d bytes", n)
	}
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Sessions.Shards = 2 })
	w.Eventually("all is well again", func() error {
		w.Clock.Step(time.Minute)
		if ids, strays := w.StoredSessions(w.GetSet("logs")); len(ids) != len(names) || strays > 0 {
			return fmt.Errorf("%d sessions, %d strays", len(ids), strays)
		}
		return nil
	})
}

// A former Secret that stays, because an Agent lost its token, is read once, and not at each event of the set.
func TestShards_FormerSecretStays_IsNotReadAtEachPass(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: "********"})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	agents := w.AgentsOf("logs")
	lost, other := agents[w.Node("a")], agents[w.Node("b")]
	if err := w.Client.Delete(t.Context(), w.Secret(lost.Status.TokenSecretRef.Name)); err != nil {
		t.Fatal(err)
	}
	w.Restart()
	w.Poke(lost.Name)
	w.Stalled(lost.Name, v1alpha1.ReasonTokenUnavailable)
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Sessions.SecretName = "other" })
	w.Eventually("the other session is in the new Secret", func() error {
		w.Clock.Step(time.Minute)
		if secret := w.Secret(agentset.SecretName("logs", "other", 0)); secret == nil || len(secret.Data) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	former := agentset.SecretName("logs", "", 0)
	var reads atomic.Int32
	w.API.Before(func(r *http.Request) error {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/secrets/"+former) {
			reads.Add(1)
		}
		return nil
	})
	for i := range 20 {
		request := fmt.Sprint(i)
		w.Change(other.Name, func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "team/note", request) })
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
			metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, request)
		})
		w.Eventually("a further pass", func() error {
			w.Clock.Step(time.Minute)
			if got := w.GetSet("logs").Status.LastHandledReconcileAt; got != request {
				return fmt.Errorf("handled is %q", got)
			}
			return nil
		})
	}
	if w.Secret(former) == nil {
		t.Error("the only copy of a session is gone")
	}
	if n := reads.Load(); n > 3 {
		t.Errorf("the former Secret was read %d times", n)
	}
}

// Whoever may write Secrets makes one of the set's name with very many keys, which take many times their bytes once they are read.
func TestShard_WithVeryManyKeys_IsNotTheSets(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: agentset.SecretName("logs", "", 0),
			Labels: map[string]string{v1alpha1.LabelAgentSet: "logs", v1alpha1.LabelAgentSetUID: "of-a-former-set"},
		},
		Data: map[string][]byte{},
	}
	for i := range 10_000 {
		secret.Data[fmt.Sprint(i, ".calyptia.yaml")] = nil
	}
	if err := w.Client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	stalled(w, "logs", v1alpha1.ReasonSecretConflict)
	if n := len(w.Secret(secret.Name).Data); n != len(secret.Data) {
		t.Errorf("it has %d keys", n)
	}
}
