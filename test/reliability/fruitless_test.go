/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// invented is a response to a registration that took effect, with the ID of no agent. By its own clock the agent was created just now:
// else it would be read first.
var invented = cloudtest.Fault{
	Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Status: http.StatusCreated,
	Header: http.Header{"Content-Type": {"application/json"}, "Date": {"Thu, 01 Jan 2026 00:00:00 GMT"}},
	Body: `{"id":"7f2d8a52-54c4-4f5e-9d4c-0d3f6a1b2c3d","token":"invented-token-of-no-agent","name":"web",` +
		`"createdAt":"2026-01-01T00:00:00Z","environmentName":"default"}`,
}

// nobody is the ID of no agent.
const nobody = "11111111-2222-4333-8444-555555555555"

// posts waits until the cloud has received so many registrations.
func posts(w *harness.World, want int) {
	w.Helper()
	w.Eventually(fmt.Sprintf("%d registrations", want), func() error {
		if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != want {
			return fmt.Errorf("%d: %s", n, harness.Describe(w.Get("web")))
		}
		return nil
	})
}

// Something between the operator and the API writes other IDs. A snapshot that is begun after the invented agent was missed shows
// the agent that was registered.
func TestRegister_InventedID_Lists_TheAgentIsFound(t *testing.T) {
	for _, machines := range []cloudtest.MachineIDPolicy{cloudtest.MachineIDConflict, cloudtest.MachineIDDouble, cloudtest.MachineIDUpsert} {
		t.Run(fmt.Sprint("derived machine ID, policy ", machines), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: machines})
			w.Cloud.Inject(invented)
			w.Ready(w.Apply("web"))
			w.Poke("web")
			w.Eventually("the agent is found", func() error {
				if a := w.Get("web"); a.Status.ID != w.Remote()[0].ID {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			w.Ready("web")
			w.One("web")
			posts(w, 1)
		})
	}
	t.Run("explicit machine ID", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
		w.Cloud.Inject(invented)
		w.Ready(w.Apply("web", chosen("machine-1")))
		w.Poke("web")
		w.Stalled("web", v1alpha1.ReasonMachineIDConflict, w.Remote()[0].ID)
		posts(w, 1)
	})
}

// Where nothing is listed, an invented ID costs an agent each time: a few at once, and then fewer and fewer.
func TestRegister_InventedID_NoList_PausesGrow(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.Cloud.Inject(invented)
	w.Ready(w.Apply("web"))
	for n := range 3 {
		posts(w, n+1)
		w.Check("web")
	}
	posts(w, 4)
	w.Poke("web")
	w.NotReady("web", v1alpha1.ReasonRemoteDeleted, "4 times in a row", v1alpha1.AnnotationReconcileAt)
	pauses(w, 4)
	w.Poke("web")
	w.NotReady("web", v1alpha1.ReasonRemoteDeleted, "5 times in a row")
	w.Poke("web")
	posts(w, 6)
}

// pauses checks that the next registration after so many waits for a minute.
func pauses(w *harness.World, made int) {
	w.Helper()
	posts(w, made)
	wake(w, 11*time.Minute)
	w.Apply("meanwhile", func(a *v1alpha1.Agent) { a.Spec.AgentID = nobody })
	w.NotReady("meanwhile", v1alpha1.ReasonRemoteNotFound)
	posts(w, made)
	w.Clock.Step(time.Minute)
	wake(w, 12*time.Minute)
	posts(w, made+1)
}

// wake has the operator retry the Agents of the CloudProject, without a change that could end their failures.
func wake(w *harness.World, interval time.Duration) {
	w.Helper()
	var cp v1alpha1.CloudProject
	err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp)
	base := cp.DeepCopy()
	cp.Spec.ResyncInterval = &metav1.Duration{Duration: interval}
	if err = errors.Join(err, w.Client.Patch(context.Background(), &cp, client.MergeFrom(base))); err != nil {
		w.Fatal(err)
	}
}

// A filter writes a refusal in the API's form over responses to registrations that took effect.
func TestRegister_RefusedInTheAPIsForm_NoList_PausesGrow(t *testing.T) {
	reasons := map[int]string{
		http.StatusBadRequest: v1alpha1.ReasonInvalid, http.StatusForbidden: v1alpha1.ReasonForbidden,
		http.StatusPaymentRequired: v1alpha1.ReasonInvalid, http.StatusLocked: v1alpha1.ReasonUnavailable,
	}
	for status := range reasons {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: status, Body: `{"error":"no"}`, After: true,
			})
			w.Apply("web")
			for n := range 3 {
				if status != http.StatusLocked { // That is retried at once.
					posts(w, n+1)
					w.Check("web")
				}
			}
			w.NotReady("web", reasons[status], "refused 4 times", w.Get("web").Status.MachineID, "to register now")
			pauses(w, 4)
			w.Poke("web")
			posts(w, 6)
		})
	}
}

// With a server that keeps machine IDs unique, or responds with the agent that has it, the second attempt shows the truth.
func TestRegister_RefusedInTheAPIsForm_NoList_NoDuplicates(t *testing.T) {
	refused := cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusBadRequest, Body: `{"error":"no"}`, After: true, Times: 1,
	}
	t.Run("409", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true})
		w.Cloud.Inject(refused)
		w.Apply("web")
		w.Stalled("web", v1alpha1.ReasonInvalid)
		w.Poke("web")
		w.Stalled("web", v1alpha1.ReasonRegistrationOutcomeUnknown, "spec.agentID")
		if n := len(w.Remote()); n != 1 {
			t.Errorf("%d remote agents", n)
		}
	})
	t.Run("upsert", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
		w.Cloud.Inject(refused)
		w.Apply("web")
		w.Stalled("web", v1alpha1.ReasonInvalid)
		w.Poke("web")
		w.Ready("web")
		w.One("web")
	})
}
