/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway or a portal may respond to a deletion in place of the API, as the API would. It is no evidence of a deletion.
func TestDelete_ResponseOfSomethingInBetween_LeavesNoAgent(t *testing.T) {
	for _, status := range []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted} {
		for _, settings := range []cloudtest.Settings{{}, {NoList: true}} {
			t.Run(fmt.Sprint(status, " no list ", settings.NoList), func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, settings)
				w.Ready(w.Apply("web"))
				w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: status, Times: 1})
				w.Delete("web")
				w.Gone("web")
				if left := w.Remote(); len(left) != 0 {
					t.Errorf("the Agent is gone, and %d remote agents are left", len(left))
				}
			})
		}
	}
}

// While something in between responds to all deletions, the Agent stays and says so.
func TestDelete_NeverTakesEffect_TheAgentSaysSo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	heal := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusNoContent})
	w.Delete("web")
	w.NotReady("web", v1alpha1.ReasonInvalidResponse, "still exists", v1alpha1.AnnotationOrphan)
	heal()
	w.Gone("web")
	if left := w.Remote(); len(left) != 0 {
		t.Errorf("%d remote agents are left", len(left))
	}
}

// An API without a list whose 404 names nothing, as a framework's: after a deletion that was accepted, it is enough.
func TestDelete_NotFoundNamesNothingAndNoList_Ends(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true})
	w.Ready(w.Apply("web"))
	w.Poke("web")
	handled(w, "web") // A read showed the agent, so the deletion comes first.
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusNotFound, Body: `{"error":"not found"}`})
	w.Delete("web")
	w.Gone("web")
	if left, deletions := w.Remote(), w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent); len(left) != 0 || deletions != 1 {
		t.Errorf("%d remote agents are left after %d deletions, want none after one", len(left), deletions)
	}
}

// A backend lags behind the one that registered the agent: for a while it has no such agent, as the API itself says. The second check comes
// later, and shows that the agent exists.
func TestDelete_BackendLags_LeavesNoAgent(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprint("restart ", restart), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.GoneDelay = 10 * time.Minute
			})
			lag := wrongly(w.Ready(w.Apply("web")).Status.ID)
			lag.Method, lag.Times = "", 0
			caughtUp := w.Cloud.Inject(lag)
			if restart {
				w.Stop()
				w.Start()
			}
			w.Delete("web")
			w.NotReady("web", v1alpha1.ReasonRemoteDeleted)
			caughtUp()
			w.Poke("web")
			w.Gone("web")
			remains(w)
		})
	}
}

// Somebody else deleted the remote agent: the second check completes the deletion, with two requests in all.
func TestDelete_RemoteAgentIsDeletedAlready_EndsWithTwoRequests(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Cloud.Remove(id)
	w.Cloud.ResetRequests()
	w.Delete("web")
	w.Gone("web")
	requests := slices.DeleteFunc(w.Cloud.Requests(), func(r cloudtest.Request) bool { return r.AgentID != id })
	if len(requests) != 2 {
		t.Errorf("%d requests, want 2", len(requests))
	}
}

// A deletion that finds no agent is no evidence beside a read that shows it: an API may say so to a token that may not delete.
func TestDelete_NotFoundAlthoughAReadShowsTheAgent_LeavesNoAgent(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			id := w.Ready(w.Apply("web")).Status.ID
			w.Poke("web")
			w.Handled("web")
			heal := w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
				Match: func(r *http.Request) bool { return r.URL.Path == "/v1/agents/"+id },
			})
			w.Cloud.ResetRequests()
			w.Delete("web")
			w.Eventually("the deletion is tried again after a read", func() error {
				err := w.Client.Get(t.Context(), w.Key("web"), &v1alpha1.Agent{})
				if n := w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent); n < 3 && err == nil {
					return fmt.Errorf("%d deletions", n)
				}
				return client.IgnoreNotFound(err)
			})
			heal()
			w.Gone("web")
			if left := len(w.Remote()); left != 0 {
				t.Errorf("%d remote agents are left", left)
			}
		})
	}
}

// A gateway responded to a read with a "not found" that names nothing, long before it does so to a deletion, and something responded to a
// deletion in place of the API. Only a snapshot from after the last "not found" can confirm it.
func TestDelete_NotFoundNamedNothingLongAgo_IsNotConfirmedByThat(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.GoneDelay = 10 * time.Minute })
	bare := wrongly(w.Ready(w.Apply("web")).Status.ID)
	bare.Times, bare.Body = 0, `{"error":"not found"}`
	pokeUntil := func(route cloudtest.Route, status int) {
		w.Cloud.ResetRequests()
		w.Poke("web")
		w.Eventually(fmt.Sprint("a response ", status), func() error {
			if !slices.ContainsFunc(w.Cloud.Requests(), func(r cloudtest.Request) bool { return r.Route == route && r.Status == status }) {
				return errors.New(harness.Describe(w.Get("web")))
			}
			return nil
		})
	}
	reads := w.Cloud.Inject(bare)
	lists := w.Cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 503, Body: `{"error":"unavailable"}`})
	pokeUntil(cloudtest.RouteList, http.StatusServiceUnavailable) // No snapshot confirms what the read said.
	reads()
	pokeUntil(cloudtest.RouteAgent, http.StatusOK)
	lists()
	w.Clock.Step(2 * w.Settings.Slack)
	w.Poke("web")
	handled(w, "web") // A snapshot shows it, too.

	portal, deletions := bare, bare
	portal.Method, portal.Status, portal.Body, portal.Times = http.MethodDelete, http.StatusNoContent, "", 1
	deletions.Method = http.MethodDelete
	w.Cloud.Inject(portal)
	heal := w.Cloud.Inject(deletions)
	w.Delete("web")
	w.NotReady("web", v1alpha1.ReasonInvalidResponse, "does not confirm")
	heal()
	w.Gone("web")
	remains(w)
}
