/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// boundary is a write of the operator at which it dies.
type boundary struct {
	name, method, suffix string
	before, change       func(*harness.World) // change causes the write
	left                 []string             // the nodes in the end
}

// boundaries are the writes for a set, which has the nodes a and b at first. The first three are those of a new set.
var boundaries = []boundary{
	{"an Agent is created", http.MethodPost, "/agents", nil, create, []string{"a", "b"}},
	{"the Secret is created", http.MethodPost, "/secrets", nil, create, []string{"a", "b"}},
	{"the status is written", http.MethodPatch, "/agentsets/logs/status", nil, create, []string{"a", "b"}},
	{"a session is added", http.MethodPatch, sessionSecret, nil, func(w *harness.World) { w.Nodes("c") }, []string{"a", "b", "c"}},
	{"the removal is recorded", http.MethodPatch, "-b", nil, remove, []string{"a", "b"}},
	{"the removal is revoked", http.MethodPatch, "-b", func(w *harness.World) {
		remove(w)
		w.Eventually("the removal is recorded", func() error {
			if b := w.AgentsOf("logs")[w.Node("b")]; b.Annotations[v1alpha1.AnnotationRemovalStarted] == "" {
				return fmt.Errorf("annotations %v", b.Annotations)
			}
			return nil
		})
	}, func(w *harness.World) { w.Nodes("b") }, []string{"a", "b"}},
	{"the template reaches an Agent", http.MethodPatch, "-a", nil, func(w *harness.World) {
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Template.Spec.Version = newVersion })
	}, []string{"a", "b"}},
	{"an Agent is deleted", http.MethodDelete, "-b", removeAtOnce, remove, []string{"a"}},
	{"a session is removed", http.MethodPatch, sessionSecret, removeAtOnce, remove, []string{"a"}},
	{"the former Secret is deleted", http.MethodDelete, sessionSecret, nil, func(w *harness.World) {
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Sessions.SecretName = "other" })
	}, []string{"a", "b"}},
	{"an Agent and a Secret without an owner are adopted", http.MethodPatch, sessionSecret, orphan, create, []string{"a", "b"}},
	{"an Agent without an owner is adopted", http.MethodPatch, "-a", orphan, create, []string{"a", "b"}},
}

const sessionSecret = "/secrets/logs-sessions-0"

const newVersion = "v4.1.0"

func create(w *harness.World) { w.AgentSet("logs", "fluent-bit") }

func remove(w *harness.World) { w.RemoveNode("b") }

func removeAtOnce(w *harness.World) { w.ChangeSet("logs", delay(0)) }

// orphan deletes the set and leaves what it owned.
func orphan(w *harness.World) {
	if err := w.Client.Delete(w.Context(), w.GetSet("logs"), client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		w.Fatal(err)
	}
	w.Eventually("the set is deleted, and nothing has an owner", func() error {
		if err := w.Client.Get(w.Context(), w.Key("logs"), &v1alpha1.AgentSet{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("the set exists: %w", err)
		}
		return nil
	})
}

// The operator dies right before each of its writes, or right after it, and another one continues.
func TestTheOperatorDiesAtEveryBoundary(t *testing.T) {
	t.Parallel()
	for i, b := range boundaries {
		for when, stop := range map[string]func(*harness.Proxy, string, string) <-chan struct{}{
			"before ": (*harness.Proxy).StopAt, "after ": (*harness.Proxy).StopAfter,
		} {
			t.Run(when+b.name, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{})
				w.Nodes("a", "b")
				w.DaemonSet("fluent-bit")
				if i > 2 {
					create(w)
					w.SetReady("logs", 2)
					w.Clock.Step(time.Minute) // Skips the pause before the next batch.
				}
				if b.before != nil {
					b.before(w)
				}
				dead := stop(w.API, b.method, b.suffix)
				b.change(w)
				select {
				case <-dead:
				case <-time.After(harness.Patience):
					t.Fatal("the operator does not write that")
				}
				w.Stop()
				w.API.Before(nil)
				w.API.Around(nil)
				w.Start()
				continues(w, b.left)
			})
		}
	}
}

// continues checks that these nodes have what they need, and that nothing is left of others.
func continues(w *harness.World, nodes []string) {
	w.Helper()
	w.HasExactly("logs", keys(w, nodes...)...)
	set := w.GetSet("logs")
	w.Eventually("the Agents have the template, and no other Secret is left", func() error {
		for _, agent := range w.AgentsOf("logs") {
			if agent.Spec.Version != set.Spec.Template.Spec.Version {
				return fmt.Errorf("%s has the version %s", agent.Name, agent.Spec.Version)
			}
		}
		var secrets corev1.SecretList
		err := w.Client.List(w.Context(), &secrets, client.InNamespace(w.Namespace), client.MatchingLabels{v1alpha1.LabelAgentSet: "logs"})
		if err != nil || len(secrets.Items) != 1 {
			return fmt.Errorf("%d Secrets: %w", len(secrets.Items), err)
		}
		return nil
	})
}
