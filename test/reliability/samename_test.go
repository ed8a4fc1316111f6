/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

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

// patient has requests wait for as long as the test does.
func patient(w *harness.World, _ *v1alpha1.CloudProject) {
	w.CloudTimeout, w.Settings.PostWindow = harness.Patience, harness.Patience
}

// As with another name, for Agents of one name in two namespaces, whose registrations are in flight at the same moment: neither name nor time
// shows that the response is the other's.
func TestRegister_ResponseOfARegistrationOfTheSameName_ItsTokenIsInNoSecret(t *testing.T) {
	t.Parallel()
	// The API responds to the victim's registration with the agent that it has.
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}, patient)
	made := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: release})
	w.Apply("web")
	<-entered
	victim, _ := w.Cloud.Agent(made.ID)
	victim.CreatedAt = time.Now()
	w.Cloud.Inject(swapped(victim, 1))
	w.Guest(tenant, "web")
	guest := tenant.Ready("web")
	tenant.KeepsNothingOf("web-token", victim)
	close(release)
	if owner := w.Ready("web"); owner.Status.ID != victim.ID || guest.Status.ID == victim.ID {
		t.Errorf("the Agents have the remote agents %s and %s, not %s and another", owner.Status.ID, guest.Status.ID, victim.ID)
	}
}

// What that costs: one read for a registration that met another of its name, once, which the first change needs no more. Registrations one
// after the other cost nothing, nor do later checks.
func TestRegister_TwoOfTheSameName_CostOneReadEach_Once(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, patient)
	costs := func(what string, want int) {
		t.Helper()
		if reads := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); reads != want {
			t.Errorf("%s: %d reads, want %d", what, reads, want)
		}
		w.Cloud.ResetRequests()
	}
	w.Ready(w.Apply("first"))
	w.Cloud.ResetRequests() // Without the credential check.
	for _, team := range []*harness.World{w, tenant} {
		w.Guest(team, "alone")
		team.Ready("alone")
	}
	costs("one after the other", 0)
	const pairs = 3
	for i := range pairs {
		entered, release := make(chan struct{}, 2), make(chan struct{})
		w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 2, Entered: entered, Block: release})
		name := fmt.Sprint("web-", i)
		w.Apply(name)
		w.Guest(tenant, name)
		<-entered
		<-entered
		close(release)
		w.Ready(name)
		tenant.Ready(name)
	}
	costs("at the same moment", 2*pairs)
	for i := range pairs {
		for _, team := range []*harness.World{w, tenant} {
			name := fmt.Sprint("web-", i)
			team.Delete(name)
			team.Gone(name)
		}
	}
	costs("deleted, with the read that confirms it", 2*pairs)
}
