/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A guest of a shared project learns from a wrong name no name that other teams use.
func TestNames_OfOtherTeams_AreNotShownToAGuest(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "fleet-of-the-victim")
	wrong := func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{Name: "wrong"} }
	w.Guest(tenant, "guest", wrong)
	a := tenant.NotReady("guest", v1alpha1.ReasonNameNotFound, `no fleet named "wrong"`)
	if message := harness.Condition(a, v1alpha1.ConditionReady).Message; strings.Contains(message, "fleet-of-the-victim") {
		t.Errorf("the message is %q", message)
	}
	w.Apply("own", wrong)
	w.NotReady("own", v1alpha1.ReasonNameNotFound, "fleet-of-the-victim")
}
