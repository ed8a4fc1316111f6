/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The response to one team's registration names another team's agent. It is no evidence, also not of the machine ID of that agent: the
// other team's Agent, which is restored then, finds its remote agent by its derived machine ID, and gets no second one.
func TestRestore_AfterAResponseToAnotherTeamNamedItsAgent_ExactlyOne(t *testing.T) {
	for name, wrong := range map[string]bool{"right response": false, "wrong response": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant, victim := listedVictim(t)
			if wrong {
				w.Cloud.Inject(naming(victim.ID, victim.CreatedAt))
			}
			tenant.ReadyOrStalled(w.Guest(tenant, "guest"))
			restored(w, victim.ID)
		})
	}
}

// Two reads show that the agent which the response named is another's. That agent exists, and stays in the snapshot until the next list, so
// that the other team's Agent, which is restored meanwhile, finds it.
func TestRestore_WhileAnotherTeamLooksForItsMisnamedAgent_ExactlyOne(t *testing.T) {
	t.Parallel()
	w, tenant, victim := listedVictim(t)
	w.Cloud.Inject(naming(victim.ID, time.Now()))
	w.Guest(tenant, "guest")
	tenant.Eventually("the guest records what the response named", func() error {
		if a := tenant.Get("guest"); a.Status.ID != victim.ID {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	listing := make(chan struct{}, 100)
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Latency: 8 * time.Second, Entered: listing})
	tenant.Poke("guest")
	select {
	case <-listing: // The guest looks for its own, after two reads.
	case <-time.After(time.Minute):
		t.Fatal("nothing is listed")
	}
	restored(w, victim.ID)
}

// listedVictim is a world with a remote agent of an Agent that is yet to be restored, in a snapshot that a tenant shares.
func listedVictim(t *testing.T) (w, tenant *harness.World, victim cloud.Agent) {
	w = harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
		func(w *harness.World, cp *v1alpha1.CloudProject) {
			w.CloudTimeout = 15 * time.Second
			cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
		})
	tenant = w.In(w.AddNamespace("tenant"))
	made := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
	victim, _ = w.Cloud.Agent(made.ID)
	w.Start(tenant.Namespace)
	tenant.Ready(w.Guest(tenant, "first")) // There is a snapshot now, which shows the victim's agent.
	return w, tenant, victim
}

// naming is a response to the next registration, which names another agent than the one that it made.
func naming(id string, createdAt time.Time) cloudtest.Fault {
	return cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body: fmt.Sprintf(`{"id":%q,"token":"a-token","name":"guest","createdAt":%q,"environmentName":"default"}`,
			id, createdAt.UTC().Format(time.RFC3339Nano)),
	}
}

// restored checks that the restored Agent has its remote agent.
func restored(w *harness.World, id string) {
	w.Helper()
	if a := w.Ready(w.Apply("web")); a.Status.ID != id {
		w.Errorf("the restored Agent has %s instead of its remote agent %s: there are %d agents", a.Status.ID, id, len(w.Remote()))
	}
}
