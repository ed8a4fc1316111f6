/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// An Agent that declares no machine ID keeps its remote agent when the cluster's ID changes. If the agent is lost later, it is
// registered again with the same machine ID, although its namespace may not choose one of that form.
func TestClusterID_ChangedBeforeAnAgentIsLost_GuestIsRegisteredAgain(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	before := tenant.Ready(w.Guest(tenant, "web")).Status
	w.Stop()
	w.Settings.ClusterID = "another-id"
	w.Start(tenant.Namespace)
	tenant.Poke("web")
	if a := tenant.Handled("web"); a.Status.ID != before.ID || a.Status.MachineID != before.MachineID {
		t.Fatalf("the Agent has %s with the machine ID %s after the change", a.Status.ID, a.Status.MachineID)
	}
	w.Cloud.Remove(before.ID)
	tenant.Poke("web")
	tenant.Eventually("it is registered again, with its machine ID", func() error {
		a := tenant.Get("web")
		if a.Status.ID == before.ID || a.Status.MachineID != before.MachineID || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("it is %s", harness.Describe(a))
		}
		return nil
	})
}
