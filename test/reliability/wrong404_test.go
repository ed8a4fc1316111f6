/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// One wrong response, to a deletion that had no effect or to the read before it, says that the agent does not exist.
func TestDelete_OneWrongNotFound_LeavesNoAgent(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		for method, restart := range map[string]bool{http.MethodDelete: false, http.MethodGet: true} {
			t.Run(name+"/"+method, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, settings)
				id := w.Ready(w.Apply("web")).Status.ID
				if restart {
					w.Stop()
				}
				w.Cloud.Inject(cloudtest.Fault{
					Method: method, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
					Match: func(r *http.Request) bool { return r.URL.Path == "/v1/agents/"+id }, // Not the credential check.
				})
				w.Delete("web")
				if restart {
					w.Start()
				}
				w.Gone("web")
				if left := w.Remote(); len(left) != 0 {
					t.Errorf("the Agent is gone, and %d remote agents are left", len(left))
				}
			})
		}
	}
}
