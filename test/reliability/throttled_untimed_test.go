/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The API asks once to wait, without a time: the Agent continues soon, although no event shows the end of the limit.
func TestThrottledWithoutATime_TheAgentContinues(t *testing.T) {
	for method, row := range map[string]struct {
		route cloudtest.Route
		act   func(w *harness.World)
		ends  func(w *harness.World)
	}{
		http.MethodPost: {cloudtest.RouteAgents, nil, func(w *harness.World) { w.Ready("web") }},
		http.MethodGet:  {cloudtest.RouteAgent, func(w *harness.World) { w.Poke("web") }, func(w *harness.World) { w.Handled("web") }},
		http.MethodPatch: {
			cloudtest.RouteAgent,
			func(w *harness.World) { w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# changed" }) },
			func(w *harness.World) { w.Ready("web") },
		},
		http.MethodDelete: {cloudtest.RouteAgent, func(w *harness.World) { w.Delete("web") }, func(w *harness.World) { w.Gone("web") }},
	} {
		for name, body := range map[string]string{"API": `{"error":"too many requests"}`, "gateway": "<html></html>"} {
			t.Run(method+" "+name, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{})
				limit := func() {
					w.Cloud.Inject(cloudtest.Fault{Method: method, Route: row.route, Times: 1, Status: http.StatusTooManyRequests, Body: body})
				}
				if row.act == nil {
					limit()
				}
				w.Apply("web")
				if row.act != nil {
					w.Check(w.Ready("web").Name)
					limit()
					row.act(w)
				}
				row.ends(w)
			})
		}
	}
}
