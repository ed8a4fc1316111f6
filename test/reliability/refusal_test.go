/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A replica whose clock was an hour ahead has closed the previous registration.
func TestReregistration_AfterAClockThatWasAhead_IsInTime(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Minute}
	})
	w.Clock.Step(time.Hour)
	w.Start()
	before := w.Ready(w.Apply("web"))
	w.Stop()
	w.Clock.Step(-time.Hour)
	w.Cloud.Remove(before.Status.ID)
	w.Poke("web")
	w.Start()
	w.Eventually("it is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Cloud.Mutate(w.Ready("web").Status.ID, func(a *cloud.Agent) { a.Version = "v1.0.0" })
	w.Eventually("the drift is corrected", func() error {
		if got := w.Remote()[0].Version; got != "v4.0.0" {
			return fmt.Errorf("version %s", got)
		}
		return nil
	})
}

// An Agent that may adopt the agent with the machine ID gets its ID, also after a lost response.
func TestMachineIDTaken_AfterALostResponse_NamesTheIDToAdopt(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutBefore})
	w.Apply("web", chosen("machine-1"))
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	made := w.Register("elsewhere", "machine-1")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Hour) })
	w.Stalled("web", v1alpha1.ReasonMachineIDConflict, made.ID)
}

var refusal = cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: 400, Body: `{"error":"invalid agent raw config"}`}

// refusedSoon is a World whose first registration is about to be refused: the response waits for respond.
func refusedSoon(t *testing.T) (w *harness.World, respond func()) {
	t.Helper()
	w = harness.New(t, cloudtest.Settings{NoList: true})
	entered, block := make(chan struct{}, 1), make(chan struct{})
	first := refusal
	first.Times, first.Entered, first.Block = 1, entered, block
	w.Cloud.Inject(first)
	w.Cloud.Inject(refusal)
	w.Apply("web")
	<-entered
	return w, func() { close(block) }
}

// The operator shuts down while a registration is refused.
func TestRefusal_DuringAShutdown_IsNotForgotten(t *testing.T) {
	t.Parallel()
	w, respond := refusedSoon(t)
	w.Halt()
	respond()
	w.Stop()
	w.Start()
	w.Stalled("web", v1alpha1.ReasonInvalid)
	w.Delete("web")
	w.Gone("web")
}

// The status that closes a refused registration cannot be written.
func TestRefusal_StatusNotWritten_IsNotForgotten(t *testing.T) {
	t.Parallel()
	w, respond := refusedSoon(t)
	w.API.FailOnce(http.MethodPatch, "/web/status")
	respond()
	w.Stalled("web", v1alpha1.ReasonInvalid)
	w.Delete("web")
	w.Gone("web")
}
