/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A CloudProject and an Agent are restored from a backup, without status and Secrets. Something in between responds to the first list in
// place of the API, once. The API lists: the Agent finds its remote agent, and does not get a second one, which would stay.
func TestRestore_AFilterRespondsToTheFirstList_ExactlyOne(t *testing.T) {
	policies := map[string]cloudtest.MachineIDPolicy{"double": cloudtest.MachineIDDouble, "conflict": cloudtest.MachineIDConflict}
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound} {
		for name, policy := range policies {
			t.Run(fmt.Sprint(status, "/", name), func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: policy}, harness.Idle)
				before := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
				w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Times: 1, Status: status, Body: blockPage})
				w.Start()
				w.Apply("web")
				a := w.ReadyOrStalled("web")
				if n := len(w.Remote()); n != 1 || a.Status.ID != before.ID {
					t.Errorf("%d remote agents; the Agent is %s with %s, not %s", n, harness.Describe(a), a.Status.ID, before.ID)
				}
			})
		}
	}
}
