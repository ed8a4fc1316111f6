/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"fmt"
	"net/http"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// prune removes what the manifest in a repository does not have, as GitOps tools do.
func prune(a *v1alpha1.Agent) { a.Finalizers, a.Annotations = nil, nil }

func finalizerReturns(w *harness.World, name string) {
	w.Helper()
	w.Eventually("the finalizer returns", func() error {
		if a := w.Get(name); !controllerutil.ContainsFinalizer(a, v1alpha1.AgentFinalizer) {
			return fmt.Errorf("finalizers %v; %s", a.Finalizers, harness.Describe(a))
		}
		return nil
	})
}

// Without its finalizer a deleted Agent leaks its remote agent. So the operator restores the finalizer at once, in every
// state of the Agent and without a request to Calyptia Cloud.
func TestAPrunedFinalizerIsRestoredAtOnce(t *testing.T) {
	suspend := func(a *v1alpha1.Agent) { a.Spec.Suspend = true }
	rows := []struct {
		name   string
		change func(*v1alpha1.Agent)
		// before brings the Agent into the state in which it is pruned.
		before  func(*harness.World)
		remains bool
		adopted bool
	}{
		{name: "up to date"},
		{name: "with a session", change: withSession("")},
		{name: "suspended", before: func(w *harness.World) { w.Change("web", suspend); w.Ready("web") }},
		{name: "retaining", change: func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }, remains: true},
		{name: "observing", change: func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncObserve }, remains: true, adopted: true},
		{name: "adopted", remains: true, adopted: true},
		{name: "stalled", before: func(w *harness.World) {
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: 422,
				Body: `{"error":"invalid agent version"}`})
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v9.9.9" })
			w.Stalled("web", v1alpha1.ReasonInvalid)
		}},
		{name: "no longer registrable", before: func(w *harness.World) {
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "missing" })
			w.NotReady("web", v1alpha1.ReasonProjectNotFound)
		}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			var id string
			if row.adopted {
				id = w.Register("legacy", "machine-1").ID
			}
			w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
				if row.adopted {
					adopting(id)(a)
				}
				if row.change != nil {
					row.change(a)
				}
			}))
			if row.before != nil {
				row.before(w)
			}
			w.Cloud.ResetRequests()
			w.Change("web", prune)
			finalizerReturns(w, "web")
			if calls := w.Cloud.Requests(); len(calls) > 0 {
				t.Errorf("calls: %+v, want none", calls)
			}
			if ref := w.Get("web").Spec.ProjectRef; ref.Name == "missing" {
				w.Change("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "calyptia" })
			}
			w.Delete("web")
			w.Gone("web")
			if got := len(w.Remote()) == 1; got != row.remains {
				t.Errorf("the remote agent remains: %v, want %v", got, row.remains)
			}
		})
	}
}

// The annotation is the only record of a registration whose response was lost. Without it, the Agent would be
// registered a second time.
func TestAPrunedRegistrationIsNotForgotten(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
	}{
		{"a server that lists", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}},
		{"a server that does not list", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert, NoList: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings)
			w.Ready(w.Apply("first")) // The first list is read before the response is lost.
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
			blind := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
			w.Apply("web")
			w.Eventually("the registration is in doubt", func() error {
				if a := w.Get("web"); len(a.Status.Conditions) < 2 || a.Annotations[v1alpha1.AnnotationRegistrationIntent] == "" || len(w.Remote()) != 2 {
					return fmt.Errorf("conditions are %s", harness.Describe(a))
				}
				return nil
			})
			w.Change("web", prune)
			w.Eventually("the registration intent is restored", func() error {
				if a := w.Get("web"); a.Annotations[v1alpha1.AnnotationRegistrationIntent] == "" && a.Status.ID == "" {
					return fmt.Errorf("annotations %v", a.Annotations)
				}
				return nil
			})
			finalizerReturns(w, "web")
			blind()
			w.Ready("web")
			if n := len(w.Remote()); n != 2 {
				t.Errorf("%d remote agents, want 2", n)
			}
		})
	}
}
