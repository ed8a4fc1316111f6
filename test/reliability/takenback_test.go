/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The spec is reverted while an update is not confirmed yet.
func TestUpdate_RevertedBeforeItIsConfirmed_IsRevertedRemotely(t *testing.T) {
	for _, policy := range []v1alpha1.SyncPolicy{v1alpha1.SyncEnforce, v1alpha1.SyncOnChange} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true})
			w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = policy }))
			w.Check("web") // Before the first sync, an update reads the agent first.
			blind := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: 503})
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			w.Eventually("the update is sent", func() error {
				if got := w.Remote()[0].Version; got != "v4.1.0" {
					return fmt.Errorf("version %s", got)
				}
				return nil
			})
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.0" })
			blind()
			w.Ready("web")
			if got := w.Remote()[0].Version; got != "v4.0.0" {
				t.Errorf("Ready, and version %s; %s; applied %v", got, harness.Describe(w.Get("web")), w.Get("web").Status.Applied)
			}
			if events := w.Events("web", 3); slices.Contains(events, "DriftCorrected") || slices.Contains(events, "Drifted") {
				t.Errorf("events are %v", events)
			}
		})
	}
}

// The API ignores a field, and the rate limiter never has a permit to spare. The field is reported, not sent forever.
func TestUpdate_IgnoredUnderAnExhaustedRateLimit_IsReported(t *testing.T) {
	t.Parallel()
	limit, burst := int32(4), int32(1)
	w := harness.New(t, cloudtest.Settings{NoList: true}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &limit, Burst: &burst}
	})
	w.Ready(w.Apply("web"))
	w.Cloud.ResetRequests()
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusNoContent})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Ready("web")
	if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n > 2 {
		t.Errorf("%d updates", n)
	}
}
