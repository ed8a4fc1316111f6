/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// swapped responds to registrations, which take effect, with the response to the registration of another team's agent: its ID, its
// real token, its name, its time.
func swapped(victim cloud.Agent, times int) cloudtest.Fault {
	return cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: times, Status: http.StatusCreated,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body: fmt.Sprintf(`{"id":%q,"token":%q,"name":%q,"createdAt":%q,"environmentName":"default"}`,
			victim.ID, victim.Token.Reveal(), victim.Name, victim.CreatedAt.Format("2006-01-02T15:04:05Z07:00")),
	}
}

// Something in between gives one team the response of another team's registration. A Fluent Bit with that session would write the other
// team's agent at its start.
func TestRegister_ResponseOfAnotherTeamsRegistration_ItsTokenIsInNoSecret(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			made := w.Register("elsewhere", "another-teams-machine")
			victim, _ := w.Cloud.Agent(made.ID)
			w.Cloud.Inject(swapped(victim, 1))
			w.Apply("web")
			w.ReadyOrStalled("web")
			w.KeepsNothingOf("web-token", victim)
		})
	}
}

// A gateway collapses the registrations of two Agents into one response. Not both have the agent.
func TestRegister_OneResponseForTwoAgents_OneHasIt(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	made := w.Register("elsewhere", "another-teams-machine")
	victim, _ := w.Cloud.Agent(made.ID)
	both := swapped(victim, 2)
	entered, release := make(chan struct{}, 2), make(chan struct{})
	both.Entered, both.Block = entered, release
	w.Cloud.Inject(both)
	w.Apply("first")
	w.Apply("second")
	<-entered
	<-entered
	close(release)
	first, second := w.ReadyOrStalled("first"), w.ReadyOrStalled("second")
	if first.Status.ID == second.Status.ID {
		t.Errorf("two Agents have the remote agent %s", first.Status.ID)
	}
}
