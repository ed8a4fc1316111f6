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

// One response, to a deletion that had no effect, says that the agent does not exist. "A deletion must be confirmed twice", and "the
// response to the deletion" is no evidence of it.
func TestDelete_OneWrongNotFound_LeavesNoAgent(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		for method, restart := range map[string]bool{http.MethodDelete: false, http.MethodGet: true} {
			t.Run(name+"/"+method, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, settings)
				w.Ready(w.Apply("web"))
				if restart {
					w.Stop()
				}
				w.Cloud.Inject(cloudtest.Fault{
					Method: method, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
					Match: func(r *http.Request) bool { return r.URL.Path != "/v1/agents/00000000-0000-0000-0000-000000000000" },
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

// A deletion is accepted by something in between, which then does not know the path. The API lists the agent still: "a bare 'not found'"
// is evidence only with "a snapshot that was begun afterwards and lacks the agent".
func TestDelete_AcceptedAndThenBareNotFound_ListShowsTheAgent_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Poke("web")
	handled(w, "web") // A read showed it, so that the deletion needs none before.
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusAccepted})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error":"not found"}`,
		Match: func(r *http.Request) bool { return r.URL.Path == "/v1/agents/"+id },
	})
	w.Delete("web")
	w.Gone("web")
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("the Agent is gone, and %d remote agents are left", len(left))
	}
}
