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

// The clock of Calyptia Cloud is behind by more than the slack, and each response says so: what an Agent registers with a chosen machine
// ID is its own all the same, and its deletion leaves nothing.
func TestRegister_ClockOfTheCloudIsBehind_ChosenMachineID_IsOneAgent(t *testing.T) {
	t.Parallel()
	behind := func() time.Time { return time.Now().Add(-30 * time.Second) } // The slack is four seconds in tests.
	w, tenant := harness.Shared(t, cloudtest.Settings{Now: behind})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents,
		Header: http.Header{"Date": {behind().UTC().Format(http.TimeFormat)}},
	})
	w.Guest(tenant, "guest", machine("machine-1"))
	tenant.Ready("guest")
	tenant.Delete("guest")
	tenant.Gone("guest")
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("the Agent is gone, and %d remote agents are left that it registered", len(left))
	}
}
