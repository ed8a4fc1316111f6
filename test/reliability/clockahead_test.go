/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const daysAhead = 48 * time.Hour

// A replica whose clock was two days ahead closed the last registration, so the next intent is later than that. If the response to that
// registration is lost, it is in doubt all the same: it is not repeated before the slack is over.
func TestReregistration_AfterAClockThatWasDaysAhead_ALostResponseIsNotForgotten(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle)
	w.Clock.Step(daysAhead)
	w.Start()
	before := w.Ready(w.Apply("web"))
	w.Stop()
	w.Clock.Step(-daysAhead)
	w.Cloud.Remove(before.Status.ID)
	w.Poke("web")
	w.Cloud.ResetRequests()
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter})
	w.Start()
	var sent []time.Time
	w.Eventually("it is registered twice", func() error {
		sent = nil
		for _, r := range w.Cloud.Requests() {
			if r.Method == http.MethodPost && r.Route == cloudtest.RouteAgents {
				sent = append(sent, r.Time)
			}
		}
		if len(sent) < 2 {
			return errors.New(harness.Describe(w.Get("web")))
		}
		return nil
	})
	// The slack counts from before the intent was written, and a first request may be slow.
	if pause := sent[1].Sub(sent[0]); pause < w.Settings.Slack*3/4 {
		t.Errorf("the second registration came %s after the first, whose response was lost", pause)
	}
}

// As above, with a chosen machine ID, from another namespace: what is registered next is not taken for an older agent of another owner.
func TestReregistration_AfterAClockThatWasDaysAhead_ChosenMachineID_IsOneAgent(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Clock.Step(daysAhead)
	w.Guest(tenant, "guest", machine("machine-1"))
	before := tenant.Ready("guest")
	w.Clock.Step(-daysAhead)
	w.Cloud.Remove(before.Status.ID)
	tenant.Poke("guest")
	w.Eventually("it is registered again", func() error {
		if a := tenant.Get("guest"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	tenant.Delete("guest")
	tenant.Gone("guest")
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("the Agent is gone, and %d remote agents are left that it registered", len(left))
	}
}

// The clock is ahead of the cloud's, and the response to a registration with a chosen machine ID is lost: the agent looks older than its
// registration, as one that another cluster registered just before would. The Agent does not adopt it unasked, and names it.
func TestRegister_ClockAhead_ChosenMachineID_LostResponse_NamesTheAgent(t *testing.T) {
	for name, policy := range map[string]cloudtest.MachineIDPolicy{
		"unique machine IDs": cloudtest.MachineIDConflict, "doubled machine IDs": cloudtest.MachineIDDouble,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: policy})
			w.Clock.Step(time.Minute)
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
			w.Apply("web", machine("machine-1"))
			w.Stalled("web", v1alpha1.ReasonMachineIDConflict)
			id := w.Remote()[0].ID
			w.Stalled("web", v1alpha1.ReasonMachineIDConflict, id)
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = id })
			if a := w.Ready("web"); a.Status.ID != id || len(w.Remote()) != 1 {
				t.Errorf("%d remote agents; the Agent is %s", len(w.Remote()), harness.Describe(a))
			}
		})
	}
}
