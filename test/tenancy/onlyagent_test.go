/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// One response to one team says that only the agent may change a field, which is wrong, and the API refuses the tokens of agents. That
// team may wait; another team's updates go through as before.
func TestUpdate_OneResponseForbidsAFieldToOneTeam_AnotherTeamIsNotBlocked(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	tenant.Ready(w.Guest(tenant, "guest"))
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`,
		Match: func(r *http.Request) bool { return r.Header.Get("X-Agent-Token") != "" },
	})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusForbidden,
		Body: `{"error":"update agent raw config forbidden"}`,
	})
	tenant.Change("guest", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# changed" })
	tenant.NotReady("guest", v1alpha1.ReasonTokenUnavailable)
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# changed" })
	w.Ready("web")
}
