/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The response to one team's registration names another team's agent. It is no evidence, also not of the machine ID of that agent: the
// other team's Agent, which is restored then, finds its remote agent by its derived machine ID, and gets no second one.
func TestRestore_AfterAResponseToAnotherTeamNamedItsAgent_ExactlyOne(t *testing.T) {
	for name, wrong := range map[string]bool{"right response": false, "wrong response": true} {
		t.Run(name, func(t *testing.T) { restored(t, wrong) })
	}
}

func restored(t *testing.T, wrong bool) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
		func(_ *harness.World, cp *v1alpha1.CloudProject) {
			cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
		})
	tenant := w.In(w.AddNamespace("tenant"))
	made := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
	victim, _ := w.Cloud.Agent(made.ID)
	w.Start(tenant.Namespace)
	tenant.Ready(w.Guest(tenant, "first")) // There is a snapshot now, which shows the victim's agent.
	fault := cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body: fmt.Sprintf(`{"id":%q,"token":"a-token","name":"guest","createdAt":%q,"environmentName":"default"}`,
			victim.ID, victim.CreatedAt.Format(time.RFC3339)),
	}
	if wrong {
		w.Cloud.Inject(fault)
	}
	tenant.ReadyOrStalled(w.Guest(tenant, "guest"))
	if a := w.Ready(w.Apply("web")); a.Status.ID != victim.ID {
		t.Errorf("the restored Agent has %s instead of its remote agent %s, which is left", a.Status.ID, victim.ID)
	}
}
