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

// A gateway repeats a registration whose first response it lost, too fast for the API, which says so in its own form. On an API that lists,
// and registers a machine ID twice, the operator deletes the duplicate in the end.
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
