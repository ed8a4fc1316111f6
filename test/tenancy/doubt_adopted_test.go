/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant that may adopt names the agent that a registration of another team, whose response was lost, has created.
func TestAdopt_CreatedByAnothersRegistrationInDoubt_Waits(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.Agent){"explicit": machine("machine-v"), "derived": func(*v1alpha1.Agent) {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption = v1alpha1.AdoptionAllowed
			})
			w.Ready(w.Apply("first"))
			var sent atomic.Bool
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter,
				Match: func(*http.Request) bool { sent.Store(true); return true },
			})
			listAgain := w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusServiceUnavailable,
				Match: func(*http.Request) bool { return sent.Load() },
			})
			w.Apply("victim", change)
			w.Eventually("it is registered", func() error {
				if len(w.Remote()) < 2 {
					return errors.New("it is not there")
				}
				return nil
			})
			id := w.Remote()[1].ID
			adopted := func(a *v1alpha1.Agent) {
				a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id, DeletionPolicy: v1alpha1.DeletionDelete}
			}
			tenant.NotReady(w.Guest(tenant, "thief", adopted), v1alpha1.ReasonRemoteAlreadyManaged, "outcome is unknown")
			listAgain()
			w.Ready("victim")
			tenant.Poke("thief")
			tenant.Stalled("thief", v1alpha1.ReasonRemoteAlreadyManaged, "belongs to")
			if got := w.Get("victim").Status.ID; got != id || tenant.Get("thief").Status.ID != "" {
				t.Errorf("the victim has %q instead of %s, the thief %q", got, id, tenant.Get("thief").Status.ID)
			}
		})
	}
}
