/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The clock of Calyptia Cloud is behind by more than the slack, and each response says so. "Beyond that a lost response ends in
// MachineIDConflict": no response is lost here. The Agent registers its chosen machine ID, and its deletion leaves nothing.
func TestRegister_ClockOfTheCloudIsBehind_ChosenMachineID_IsOneAgent(t *testing.T) {
	t.Parallel()
	behind := func() time.Time { return time.Now().Add(-30 * time.Second) } // The slack is four seconds in tests.
	w, tenant := harness.Shared(t, cloudtest.Settings{Now: behind})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents,
		Header: http.Header{"Date": {behind().UTC().Format(http.TimeFormat)}},
	})
	w.Guest(tenant, "guest", machine("machine-1"))
	a := tenant.ReadyOrStalled("guest")
	t.Logf("it is %s", harness.Describe(a))
	tenant.Delete("guest")
	tenant.Gone("guest")
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("the Agent is gone, and %d remote agents are left that it registered", len(left))
	}
}
