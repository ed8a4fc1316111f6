/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway repeats a registration whose first response it lost, so the API's own 409 is about the agent that this very registration
// created. "Not evidence" that nothing was created: 409.
func TestRegister_RepeatedByAGateway_ChosenMachineID_LeavesNoAgent(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, After: true,
				Status: http.StatusConflict, Body: `{"error":"machine ID conflict"}`,
			})
			w.Apply("web", machine("machine-1"))
			a := w.ReadyOrStalled("web")
			t.Logf("it is %s", harness.Describe(a))
			w.Delete("web")
			w.Gone("web")
			if left := w.Remote(); len(left) != 0 {
				t.Errorf("the Agent is gone, and %d remote agents are left that it registered", len(left))
			}
		})
	}
}

// A gateway repeats a registration whose first response it lost, too fast for the API, which says so in its own form. On an API that lists,
// and registers a machine ID twice: "in the end exactly one: the operator deletes duplicates".
func TestRegister_RepeatedByAGateway_TooManyRequests_InTheEndOne(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.Slack = 500 * time.Millisecond
	})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, After: true,
		Status: http.StatusTooManyRequests, Body: `{"error":"too many requests"}`, Header: http.Header{"Retry-After": {"1"}},
	})
	w.Ready(w.Apply("web"))
	w.Eventually("there is one agent, or the duplicate is left", func() error {
		w.Poke("web")
		handled(w, "web")
		w.PokeProject()
		switch left := w.Project().Status.DuplicateAgents; {
		case len(left) > 0:
			t.Fatalf("there are %d remote agents, and the operator leaves %v", len(w.Remote()), left)
		case len(w.Remote()) > 1:
			return fmt.Errorf("%d remote agents", len(w.Remote()))
		}
		return nil
	})
}
