/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// misnamed replaces the response to a registration that took effect by one that names another team's agent. Its Date makes that one look
// as if it was just created, on a slow machine, too: nothing about the response is odd.
func misnamed(w *harness.World) (victim cloud.Agent) {
	w.Helper()
	made := w.Register("elsewhere", "another-teams-machine")
	victim, _ = w.Cloud.Agent(made.ID)
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
		Header: http.Header{"Content-Type": {"application/json"}, "Date": {victim.CreatedAt.UTC().Format(http.TimeFormat)}},
		Body: fmt.Sprintf(`{"id":%q,"token":"token-of-another-agent","name":"web","createdAt":%q,"environmentName":"default"}`,
			victim.ID, victim.CreatedAt.UTC().Format(time.RFC3339)),
	})
	return victim
}

// Only the response to a registration named the agent. That is enough to record it, and not enough to delete or change it. Where the API
// lists, the Agent's own is found, and changed or deleted.
func TestRegister_ResponseNamesAnotherTeamsAgent_ItIsNeitherDeletedNorChanged(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name+"/deletion", func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			victim := misnamed(w)
			w.Ready(w.Apply("web"))
			w.Delete("web")
			w.Gone("web")
			w.Unharmed([]cloud.Agent{victim})
			switch n := len(w.Remote()); {
			case settings.NoList:
				w.Eventually("an event says what may be left", func() error {
					if events := w.Events("web", 1); !slices.Contains(events, "MaybeOrphaned") {
						return fmt.Errorf("events are %v", events)
					}
					return nil
				})
			case n != 1:
				t.Errorf("%d remote agents are left, want the other team's alone", n)
			}
		})
		t.Run(name+"/update", func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			victim := misnamed(w)
			w.Ready(w.Apply("web"))
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# changed" })
			if settings.NoList {
				w.Stalled("web", v1alpha1.ReasonRegistrationOutcomeUnknown, "spec.agentID")
			} else {
				w.Eventually("the Agent's own agent is found", func() error {
					if a := w.Get("web"); a.Status.ID == victim.ID || a.Status.ID == "" {
						return errors.New(harness.Describe(a))
					}
					return nil
				})
				own, _ := w.Cloud.Agent(w.Ready("web").Status.ID)
				if own.RawConfig != "# changed" || own.MachineID == victim.MachineID {
					t.Errorf("its agent is %+v", own)
				}
				w.HoldsToken("web", own)
			}
			w.Unharmed([]cloud.Agent{victim})
		})
	}
	t.Run("deletion repeats the registration", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
		w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
		w.Apply("web")
		w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
		victim := misnamed(w)
		w.Delete("web")
		w.Gone("web")
		w.Unharmed([]cloud.Agent{victim})
	})
}

// pokeIfThere requests a reconciliation of an Agent that is being deleted, and may be gone.
func pokeIfThere(w *harness.World, agent *v1alpha1.Agent) {
	w.Helper()
	poke := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.AnnotationReconcileAt, uuid.NewString())
	if err := w.Client.Patch(w.Context(), agent, client.RawPatch(types.MergePatchType, poke)); client.IgnoreNotFound(err) != nil {
		w.Fatal(err)
	}
}

// One wrong response to a read shows another machine ID: it delays a deletion until the second check, and no longer. If two show it, the
// agent is not deleted.
func TestDelete_ReadShowsAnotherMachineID_ASecondCheckDecides(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "always": 0} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.GoneDelay = 10 * time.Minute
			})
			w.Ready(w.Apply("web"))
			w.Check("web") // A read showed the agent, so that the process after the next one knows that.
			w.Restart()
			w.Ready("web")
			own := w.Remote()[0]
			other := own
			other.MachineID = "another"
			body, err := json.Marshal(other)
			if err != nil {
				t.Fatal(err)
			}
			heal := w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: times, Status: http.StatusOK,
				Header: http.Header{"Content-Type": {"application/json"}}, Body: string(body),
			})
			agent := w.Get("web")
			w.Delete("web")
			w.NotReady("web", v1alpha1.ReasonRemoteMismatch, "second check")
			w.Clock.Step(w.Settings.GoneDelay)
			pokeIfThere(w, agent)
			if times == 0 {
				w.Stalled("web", v1alpha1.ReasonRemoteMismatch, "not deleted")
				w.Unharmed([]cloud.Agent{own})
				heal()
				w.Clock.Step(time.Hour)
				pokeIfThere(w, agent)
			}
			w.Gone("web")
			if left := w.Remote(); len(left) != 0 {
				t.Errorf("%d remote agents are left", len(left))
			}
		})
	}
}
