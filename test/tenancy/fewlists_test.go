/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// betweenLists is the pause of the real operator between two lists that only guests need.
const betweenLists = 5 * time.Second

// guests is a World whose operator pauses between the lists that only guests need, and the namespace of a guest.
func guests(t *testing.T, settings cloudtest.Settings, between time.Duration) (w, tenant *harness.World) {
	t.Helper()
	return harness.Shared(t, settings, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.BetweenLists, w.Settings.Slack = between, 80*time.Second
	})
}

// forgedAgain writes another forged intent, and a request to reconcile.
func forgedAgain(a *v1alpha1.Agent) {
	forged(a)
	metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationReconcileAt, uuid.NewString())
}

// looked changes something of an Agent and waits until the operator has read the Agent past its cache.
func looked(tenant *harness.World, name string, change func()) {
	tenant.Helper()
	var reads atomic.Int64
	tenant.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/"+name) {
			reads.Add(1)
		}
		return send(r)
	})
	change()
	tenant.Eventually("the operator reads Agent "+name, func() error {
		if reads.Load() == 0 {
			return fmt.Errorf("it did not")
		}
		return nil
	})
}

// asked waits until the operator has asked the API for an agent.
func asked(w *harness.World, id string) {
	w.Helper()
	w.Eventually("the operator asks for agent "+id, func() error {
		for _, r := range w.Cloud.Requests() {
			if r.AgentID == id {
				return nil
			}
		}
		return fmt.Errorf("it did not")
	})
}

// Whatever a guest writes, the lists that only guests need have a pause between them.
func TestLists_OfAGuest_AreFew(t *testing.T) {
	known := uuid.NewString()
	unknownFleet := func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{ID: uuid.NewString()} }
	for name, meddle := range map[string]func(w, tenant *harness.World, name string){
		"a registered Agent is checked": func(_, tenant *harness.World, _ string) { tenant.Check("web") },
		"a forged intent": func(w, tenant *harness.World, name string) {
			looked(tenant, name, func() { w.Guest(tenant, name, forged) })
		},
		"a forged intent with a chosen machine ID": func(w, tenant *harness.World, name string) {
			looked(tenant, name, func() { w.Guest(tenant, name, forged, machine("machine-"+name)) })
		},
		"another forged intent of one Agent": func(_, tenant *harness.World, _ string) {
			looked(tenant, "again", func() { tenant.Change("again", forgedAgain) })
		},
		"a forged intent, and the deletion": func(w, tenant *harness.World, name string) {
			looked(tenant, name, func() { w.Guest(tenant, name, forged) })
			looked(tenant, name, func() { tenant.Delete(name) })
		},
		"a registration that the API refuses": func(w, tenant *harness.World, name string) {
			reconciled(tenant, w.Guest(tenant, name, unknownFleet))
			tenant.Poke(name)
		},
		"an agentID of no agent": func(w, tenant *harness.World, name string) {
			id := uuid.NewString()
			w.Guest(tenant, name, func(a *v1alpha1.Agent) { a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id} })
			asked(w, id)
		},
		"an ID of no agent in the token Secret": func(w, tenant *harness.World, _ string) {
			id := uuid.NewString()
			tenant.SetSecret("web-token", map[string]string{v1alpha1.IDKey: id})
			tenant.Poke("web")
			asked(w, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := guests(t, cloudtest.Settings{Fleets: map[string]string{known: "other"}}, betweenLists)
			w.Ready(w.Apply("victim"))
			tenant.Ready(w.Guest(tenant, "web"))
			reconciled(tenant, w.Guest(tenant, "again", forged))
			w.Cloud.Inject(notNamed(w))
			w.Cloud.ResetRequests()
			began := time.Now()
			const rounds = 15
			for i := range rounds {
				meddle(w, tenant, fmt.Sprint("meddles-", i))
			}
			lists, took := w.Cloud.Count(http.MethodGet, cloudtest.RouteList), time.Since(began)
			t.Logf("%d lists in %s", lists, took)
			if most := 2 + int(took/betweenLists); lists > most {
				t.Errorf("%d lists in %s, want at most %d", lists, took, most)
			}
		})
	}
}

// notNamed has the API say of agents that do not exist now no more than "not found".
func notNamed(w *harness.World) cloudtest.Fault {
	there := map[string]bool{uuid.Nil.String(): true}
	for _, remote := range w.Remote() {
		there[remote.ID] = true
	}
	return cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusNotFound, Body: `{"error":"not found"}`,
		Header: http.Header{"Content-Type": {"application/json"}},
		Match:  func(r *http.Request) bool { return !there[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]] },
	}
}

// Agents in the namespace of the CloudProject do not pause between lists.
func TestLists_InItsOwnNamespace_DoNotPause(t *testing.T) {
	for name, needs := range map[string]func(w *harness.World){
		"the response to a registration is lost": func(w *harness.World) {
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
			w.Ready(w.Apply("web"))
		},
		"an agentID of no agent": func(w *harness.World) {
			w.Cloud.Inject(notNamed(w))
			w.Apply("web", func(a *v1alpha1.Agent) {
				a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: uuid.NewString()}
			})
			w.Stalled("web", v1alpha1.ReasonRemoteNotFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, _ := guests(t, cloudtest.Settings{}, time.Hour)
			w.Ready(w.Apply("victim")) // After the first list.
			needs(w)
			if w.Cloud.Count(http.MethodGet, cloudtest.RouteList) < 2 {
				t.Error("no further list was needed")
			}
		})
	}
}

// Only one reconciliation knows that the API said of a registration that the machine ID is taken. A list that began later would have a
// guest register again and again.
func TestLists_OfAGuest_TheAPIRefusesTheMachineID_DoNotPause(t *testing.T) {
	t.Parallel()
	w, tenant := guests(t, cloudtest.Settings{}, time.Hour)
	tenant.Ready(w.Guest(tenant, "first")) // After the first list.
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusConflict, Body: `{"error":"machine ID conflict"}`,
		Header: http.Header{"Content-Type": {"application/json"}},
	})
	tenant.Stalled(w.Guest(tenant, "web"), v1alpha1.ReasonRegistrationOutcomeUnknown)
}
