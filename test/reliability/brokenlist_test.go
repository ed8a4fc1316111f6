/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Only the search for duplicates needs a list. The Agent itself is read, corrected and updated without one.
func TestList_IsBroken_ChangesAreApplied(t *testing.T) {
	for name, fault := range map[string]cloudtest.Fault{
		"it fails":      {Status: http.StatusServiceUnavailable, Body: `{"error":"unavailable"}`},
		"it never ends": {},
		"it is no list": {Status: http.StatusOK, Body: `{"items":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.CloudTimeout = time.Hour })
			w.Ready(w.Apply("web"))
			w.Check("web")
			fault.Method, fault.Route, fault.Header = http.MethodGet, cloudtest.RouteList, http.Header{"Content-Type": {"application/json"}}
			fault.Match = func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" } // Else it is a credential check.
			if fault.Status == 0 {
				ended := make(chan struct{})
				t.Cleanup(func() { close(ended) })
				fault.Block = ended
			}
			w.Cloud.Inject(fault)
			w.Clock.Step(25 * time.Minute)
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			a := w.Ready("web")
			if remote, _ := w.Cloud.Agent(a.Status.ID); remote.Version != "v4.1.0" {
				t.Errorf("the Agent is Ready, and the remote agent has version %s", remote.Version)
			}
		})
	}
}
