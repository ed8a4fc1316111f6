/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// An error of the API is about another team's agent: of a list, which the API cannot make because of that, or of a registration. A namespace that
// may not adopt the agent sees neither its ID nor what a list says of it; the owner sees both.
func TestAPIError_OfAnotherTeamsAgent_IsNotShownToAGuest(t *testing.T) {
	const secret = "http_passwd hunter2-is-a-password"
	const plain = `{"error":"conflict with agent %s","detail":"of its line: %s"}`
	const wrapped = `{"error":"conflict","detail":"conflict: with machine_%s: of its line: %s"}`
	for name, row := range map[string]struct {
		method string
		route  cloudtest.Route
		status int
		reason string
		whole  bool   // Nothing of what the API says is shown.
		body   string // of the ID and a line of a configuration
		id     bool   // The guest names the agent itself.
	}{
		"registration": {http.MethodPost, cloudtest.RouteAgents, http.StatusUnprocessableEntity, v1alpha1.ReasonInvalid, false, plain, false},
		"registration, the detail repeats the message": {
			http.MethodPost, cloudtest.RouteAgents, http.StatusUnprocessableEntity, v1alpha1.ReasonInvalid, false, wrapped, false,
		},
		"registration in doubt": {http.MethodPost, cloudtest.RouteAgents, http.StatusInternalServerError, "", false, plain, false},
		"list":                  {http.MethodGet, cloudtest.RouteList, http.StatusInternalServerError, v1alpha1.ReasonUnavailable, true, plain, false},
		"list, the detail repeats the message": {
			http.MethodGet, cloudtest.RouteList, http.StatusInternalServerError, v1alpha1.ReasonUnavailable, true, wrapped, false,
		},
		"list, the detail is cut": {
			http.MethodGet, cloudtest.RouteList, http.StatusInternalServerError, v1alpha1.ReasonUnavailable, true,
			strings.Replace(wrapped, `"}`, strings.Repeat(" x", 400)+`"}`, 1), false,
		},
		"read of what it names": {http.MethodGet, cloudtest.RouteAgent, http.StatusInternalServerError, v1alpha1.ReasonUnavailable, true, plain, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			id := w.Ready(w.Apply("victim", machine("machine-v"))).Status.ID
			w.Cloud.Inject(cloudtest.Fault{
				Method: row.method, Route: row.route, Status: row.status, Header: http.Header{"Content-Type": {"application/json"}},
				Body: fmt.Sprintf(row.body, id, secret),
			})
			w.Guest(tenant, "guest", func(a *v1alpha1.Agent) {
				if machine("machine-g")(a); row.id {
					a.Spec.MachineID, a.Spec.AgentID, a.Spec.Type = "", id, ""
				}
			})
			shown := func(in *harness.World, name string) (text string) {
				w.Eventually("the error is shown", func() error {
					text = harness.Describe(in.Get(name))
					if !strings.Contains(text, cloud.Redacted) && !strings.Contains(text, id) {
						return fmt.Errorf("it shows %s", text)
					}
					return nil
				})
				return text
			}
			if text := shown(tenant, "guest"); !row.id && strings.Contains(text, id) || row.whole && strings.Contains(text, secret) {
				t.Errorf("a guest sees %s", text)
			}
			if row.id {
				return
			}
			w.Apply("own", machine("machine-o"))
			if text := shown(w, "own"); !strings.Contains(text, id) || !strings.Contains(text, secret) {
				t.Errorf("the owner sees %s", text)
			}
		})
	}
}
