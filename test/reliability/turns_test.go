/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	apimeta "k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Many Agents that need several requests share a rate limit of one at a time: each turn makes progress, and repeats no
// request of an earlier turn.
func TestEachTurnMakesProgress(t *testing.T) {
	const agents = 9 // Ten that are missing at once would trip the mass-deletion safeguard.
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		happens  func(*harness.World, string) // to each Agent while no operator runs
		done     func(*harness.World, string) error
		calls    int // at most, for each Agent
	}{
		{"deletions right after a start", cloudtest.Settings{}, (*harness.World).Delete, func(w *harness.World, name string) error {
			for _, remote := range w.Remote() {
				if remote.Name == name {
					return errors.New("its remote agent is there")
				}
			}
			return nil
		}, 2},
		{"drift", cloudtest.Settings{}, func(w *harness.World, name string) {
			w.Cloud.Mutate(w.Get(name).Status.ID, func(a *cloud.Agent) { a.Version = "v9.9.9" })
			w.Poke(name)
		}, asDeclared, 4},
		{"drift, where only the agent may correct it", cloudtest.Settings{OnlyAgentPatches: true}, func(w *harness.World, name string) {
			w.Cloud.Mutate(w.Get(name).Status.ID, func(a *cloud.Agent) { a.Version = "v9.9.9" })
			w.Poke(name)
		}, asDeclared, 5},
		{"changes right after a start", cloudtest.Settings{}, func(w *harness.World, name string) {
			w.Change(name, func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" })
		}, asDeclared, 4},
		{"missing remote agents", cloudtest.Settings{}, func(w *harness.World, name string) {
			w.Cloud.Remove(w.Get(name).Status.ID)
			w.Poke(name)
		}, asDeclared, 4},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings)
			var names []string
			for i := range agents {
				names = append(names, w.Apply(fmt.Sprintf("web-%d", i)))
			}
			for _, name := range names {
				w.Ready(name)
			}
			w.Stop()
			limit := int32(2)
			one := int32(1)
			w.ChangeProject(func(cp *v1alpha1.CloudProject) {
				cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &limit, Burst: &one}
			})
			for _, name := range names {
				row.happens(w, name)
			}
			w.Cloud.ResetRequests()
			w.Start()
			for _, name := range names {
				w.Eventually(name+" is done", func() error { return row.done(w, name) })
			}
			calls := 0
			for _, r := range w.Cloud.Requests() {
				if r.Route != cloudtest.RouteList && r.Status != http.StatusTooManyRequests {
					calls++
				}
			}
			if calls > agents*row.calls+2 { // One or two may have their turn before the list, and read what it would show.
				t.Errorf("%d calls for %d Agents", calls, agents)
			}
		})
	}
}

// asDeclared checks that the Agent is Ready and its remote agent matches the spec.
func asDeclared(w *harness.World, name string) error {
	a := w.Get(name)
	remote, there := w.Cloud.Agent(a.Status.ID)
	if !there || remote.Version != a.Spec.Version || !apimeta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) ||
		a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
		return fmt.Errorf("version %s: %s", remote.Version, harness.Describe(a))
	}
	return nil
}
