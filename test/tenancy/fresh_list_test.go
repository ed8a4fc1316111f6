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
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// ofAnotherTeam registers an agent from elsewhere, a minute ago.
func ofAnotherTeam(w *harness.World, machineID string) cloud.Agent {
	w.Helper()
	made := w.Register("of-another-team", machineID)
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Minute) })
	agent, _ := w.Cloud.Agent(made.ID)
	return agent
}

// takesMeanwhile creates the Agent "thief" with the machine ID machine-1. The victim's agent gets it after the list and before the
// registration.
func takesMeanwhile(w, tenant *harness.World, victim cloud.Agent, response cloudtest.Fault) {
	w.Helper()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	response.Method, response.Route, response.Entered, response.Block = http.MethodPost, cloudtest.RouteAgents, entered, release
	w.Cloud.Inject(response)
	w.Guest(tenant, "thief", machine("machine-1"))
	<-entered
	w.Cloud.Mutate(victim.ID, func(a *cloud.Agent) { a.MachineID = "machine-1" })
	close(release)
}

// A list that is older than the Agent does not show what another cluster registered meanwhile.
func TestMachineID_TakenSinceTheSnapshot_IsNotChanged(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert})
	tenant.Ready(w.Guest(tenant, "first", machine("machine-0"))) // The snapshot.
	victim := ofAnotherTeam(w, "machine-1")
	w.Guest(tenant, "thief", machine("machine-1"))
	tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
	w.Unharmed([]cloud.Agent{victim})
}

// The Agent waits for something else, and its tenant has that go on when somebody registered the machine ID.
func TestMachineID_TakenWhileTheAgentWaits_IsNotChanged(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert})
	tenant.Create(tenant.TokenSecret("thief-token", "x"))
	w.Guest(tenant, "thief", machine("machine-1"))
	tenant.Stalled("thief", v1alpha1.ReasonSecretConflict)
	tenant.Ready(w.Guest(tenant, "first", machine("machine-0"))) // The snapshot.
	victim := ofAnotherTeam(w, "machine-1")
	w.Clock.Step(w.Settings.Slack)
	if err := tenant.Client.Delete(t.Context(), tenant.Secret("thief-token")); err != nil {
		t.Fatal(err)
	}
	tenant.Poke("thief")
	tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
	w.Unharmed([]cloud.Agent{victim})
}

// Agents with chosen machine IDs that are created together share lists, and those with derived machine IDs need none but the first.
func TestMachineID_OfManyAgents_TakesFewLists(t *testing.T) {
	for name, row := range map[string]struct {
		change func(i int) func(*v1alpha1.Agent)
		most   func(took time.Duration) int
	}{
		"chosen": {
			func(i int) func(*v1alpha1.Agent) { return machine(fmt.Sprint("machine-", i)) },
			func(took time.Duration) int { return 3 + int(took/harness.BetweenLists) },
		},
		"derived": {func(int) func(*v1alpha1.Agent) { return func(*v1alpha1.Agent) {} }, func(time.Duration) int { return 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const agents = 40
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.Slack = time.Minute
			})
			tenant.Ready(w.Guest(tenant, "first"))
			began := w.Clock.Now()
			w.Cloud.ResetRequests()
			for i := range agents {
				w.Guest(tenant, fmt.Sprint("web-", i), row.change(i))
			}
			for i := range agents {
				tenant.Ready(fmt.Sprint("web-", i))
			}
			lists, most := w.Cloud.Count(http.MethodGet, cloudtest.RouteList), row.most(w.Clock.Since(began))
			if posts := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); lists > most || posts != agents {
				t.Errorf("%d registrations took %d lists, expected at most %d", posts, lists, most)
			}
		})
	}
}
