/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway passes on the headers that it knows, and Link is none of them, so the list seems to end after its first page. A restored
// Agent, whose remote agent is on the second, gets no second remote agent.
func TestRestore_GatewayDropsLinkHeaders_NoSecondAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle)
	before := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
	for n := range 100 {
		w.Register("other", fmt.Sprint("machine-", n))
	}
	heal := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Header: http.Header{"Link": {""}}})
	w.Start()
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonInvalidResponse, "Link header")
	heal()
	if a := w.Ready("web"); a.Status.ID != before.ID || len(w.Remote()) != 101 {
		t.Errorf("%d remote agents; the Agent has %s, not %s", len(w.Remote()), a.Status.ID, before.ID)
	}
}
