/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func inFleet(name string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{Name: name} }
}

func inEnvironment(name string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.Environment = &v1alpha1.EnvironmentReference{Name: name} }
}

// later waits, and wakes Agents without requesting a check.
func later(w *harness.World, d time.Duration, names ...string) {
	w.Helper()
	w.Clock.Step(d)
	for _, name := range names {
		w.Change(name, func(a *v1alpha1.Agent) {
			metav1.SetMetaDataAnnotation(&a.ObjectMeta, "example.com/round", uuid.NewString())
		})
	}
}

func fleetLists(w *harness.World) int {
	return w.Cloud.Count(http.MethodGet, cloudtest.RouteFleets)
}

// Many Agents that name one fleet and one environment cost one list of each, and a registration each. The status shows
// names and IDs.
func TestNames_OneListForAll(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	edge := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	staging := w.Cloud.AddNamed(w.ProjectID, cloud.Environments, "staging")
	// The same names in another project mean something else.
	other := uuid.NewString()
	w.Cloud.AddProject(other)
	w.Cloud.AddNamed(other, cloud.Fleets, "edge")
	w.Cloud.AddNamed(other, cloud.Environments, "staging")
	const agents = 12
	for i := range agents {
		w.Apply(fmt.Sprintf("web-%d", i), inFleet("edge"), inEnvironment("staging"))
	}
	for i := range agents {
		a := w.Ready(fmt.Sprintf("web-%d", i))
		want := v1alpha1.RemoteAgent{FleetID: edge, FleetName: "edge", EnvironmentID: staging, EnvironmentName: "staging"}
		got := v1alpha1.RemoteAgent{
			FleetID: a.Status.Agent.FleetID, FleetName: a.Status.Agent.FleetName,
			EnvironmentID: a.Status.Agent.EnvironmentID, EnvironmentName: a.Status.Agent.EnvironmentName,
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s shows %+v, want %+v", a.Name, got, want)
		}
	}
	for _, route := range []cloudtest.Route{cloudtest.RouteFleets, cloudtest.RouteEnvironments} {
		if got := w.Cloud.Count(http.MethodGet, route); got != 1 {
			t.Errorf("%d requests to %s, want one for all Agents", got, route)
		}
	}
	if got := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); got != agents {
		t.Errorf("%d registrations of %d Agents", got, agents)
	}
}

// An unknown name is waited for, without a registration, and with a list at most every 30 seconds.
func TestNames_CreatedLater(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "core")
	w.Apply("web", inFleet("edge"))
	a := w.NotReady("web", v1alpha1.ReasonNameNotFound, `no fleet named "edge"`, `"core"`)
	if harness.Condition(a, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue {
		t.Error("it is Stalled, and has only to wait")
	}
	edge := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	w.Apply("second", inFleet("edge"))
	w.NotReady("second", v1alpha1.ReasonNameNotFound)
	if lists, made := fleetLists(w), len(w.Remote()); lists != 1 || made != 0 {
		t.Errorf("%d lists within 30 seconds and %d agents, want one and none", lists, made)
	}
	later(w, 35*time.Second, "web", "second")
	for _, name := range []string{"web", "second"} {
		if got := w.Ready(name).Status.Agent.FleetID; got != edge {
			t.Errorf("%s is in fleet %s, want %s", name, got, edge)
		}
	}
	if lists := fleetLists(w); lists != 2 {
		t.Errorf("%d lists, want two", lists)
	}
}

func TestNames_NeedUserAction(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		prepare  func(*harness.World) []string
		reason   string
	}{
		{"two fleets of the name", cloudtest.Settings{}, func(w *harness.World) []string {
			return []string{
				"more than one fleet", "set spec.fleet.id", w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge"),
				w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge"),
			}
		}, v1alpha1.ReasonInvalid},
		{"no list", cloudtest.Settings{NoNames: true}, func(*harness.World) []string {
			return []string{"does not list fleets", "set spec.fleet.id"}
		}, v1alpha1.ReasonInvalid},
		{"the token may not list", cloudtest.Settings{}, func(w *harness.World) []string {
			fault := failure(403, "permission denied")
			fault.Method, fault.Route = http.MethodGet, cloudtest.RouteFleets
			w.Cloud.Inject(fault)
			return []string{"permission denied", "set spec.fleet.id"}
		}, v1alpha1.ReasonForbidden},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings)
			words := row.prepare(w)
			w.Apply("web", inFleet("edge"))
			w.Stalled("web", row.reason, words...)
			if made := len(w.Remote()); made != 0 {
				t.Fatalf("%d agents are registered without their fleet", made)
			}
			id := "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11" // Without any fleet the fake takes every ID.
			if len(words) > 3 {
				id = words[3]
			}
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{ID: id} })
			w.Ready("web")
		})
	}
}

// A fleet that is deleted and made again has another ID. The Agent follows at the resync; until the new one is there, it
// waits.
func TestNames_Recreated(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	old := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	w.Apply("web", inFleet("edge"))
	w.Ready("web")
	w.Cloud.RemoveNamed(w.ProjectID, cloud.Fleets, old)
	later(w, 12*time.Minute, "web")
	w.NotReady("web", v1alpha1.ReasonNameNotFound, `no fleet named "edge"`)
	again := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "core")
	w.Cloud.RenameNamed(w.ProjectID, cloud.Fleets, again, "edge")
	later(w, 35*time.Second, "web")
	w.Eventually("the Agent follows", func() error {
		if got := *w.Remote()[0].FleetID; got != again {
			return fmt.Errorf("it is in fleet %s, want %s", got, again)
		}
		return nil
	})
	if a := w.Ready("web"); a.Status.Agent.FleetID != again || a.Status.Agent.FleetName != "edge" {
		t.Errorf("the status shows fleet %s, %q", a.Status.Agent.FleetID, a.Status.Agent.FleetName)
	}
	w.One("web")
}

// The API shows the name of an environment, so that its drift is seen where the name is declared.
func TestNames_DriftOfTheEnvironment(t *testing.T) {
	for _, row := range []struct {
		policy v1alpha1.SyncPolicy
		want   string
	}{{v1alpha1.SyncEnforce, "staging"}, {v1alpha1.SyncOnChange, "production"}} {
		t.Run(string(row.policy), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Cloud.AddNamed(w.ProjectID, cloud.Environments, "staging")
			w.Cloud.AddNamed(w.ProjectID, cloud.Environments, "production")
			w.Apply("web", inEnvironment("staging"), func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = row.policy })
			id := w.Ready("web").Status.ID
			w.Cloud.Mutate(id, func(a *cloud.Agent) { a.EnvironmentName = "production" })
			w.Poke("web")
			if row.policy == v1alpha1.SyncOnChange {
				w.Becomes("web", v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonChangedExternally, "environment")
			}
			w.Eventually("the environment", func() error {
				if got := w.Remote()[0].EnvironmentName; got != row.want {
					return fmt.Errorf("%q, want %q", got, row.want)
				}
				return nil
			})
			w.Ready("web")
		})
	}
}

// An environment that is renamed keeps its ID. Agents that name it wait, and nothing is sent.
func TestNames_RenamedEnvironment(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Cloud.AddNamed(w.ProjectID, cloud.Environments, "staging")
	w.Apply("web", inEnvironment("staging"))
	w.Ready("web")
	w.Cloud.RenameNamed(w.ProjectID, cloud.Environments, id, "stage")
	w.Check("web") // With the list of before.
	if got := w.Get("web").Status.Agent.EnvironmentName; got != "stage" {
		t.Errorf("the status shows environment %q", got)
	}
	later(w, 12*time.Minute, "web")
	w.NotReady("web", v1alpha1.ReasonNameNotFound, `no environment named "staging"`, `"stage"`)
	w.Change("web", inEnvironment("stage"))
	if a := w.Ready("web"); a.Status.Agent.EnvironmentID != id {
		t.Errorf("the status shows environment %s, want %s", a.Status.Agent.EnvironmentID, id)
	}
	if patches := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); patches != 0 {
		t.Errorf("%d updates were sent, and nothing was to be changed", patches)
	}
}

// A fleet that goes between the list and the registration is looked up again.
func TestNames_DeletedAfterTheList(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "core")
	old := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	w.Apply("first", inFleet("edge"))
	w.Ready("first")
	w.Cloud.RemoveNamed(w.ProjectID, cloud.Fleets, old)
	w.Apply("web", inFleet("edge"))
	w.NotReady("web", v1alpha1.ReasonNameNotFound, "fleet not found", "spec.fleet.name")
	edge := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	later(w, 35*time.Second, "web")
	if got := w.Ready("web").Status.Agent.FleetID; got != edge {
		t.Errorf("it is in fleet %s, want the new one, %s", got, edge)
	}
	if posts := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); posts != 3 {
		t.Errorf("%d registrations were sent, want one for the first Agent and two for the second", posts)
	}
}

// Whatever the lookup meets, nothing is registered without the fleet, and one agent once the API lists it.
func TestNames_Faults(t *testing.T) {
	const portal = "<html>login</html>"
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
	}{
		{"an outage", cloudtest.Fault{Status: 503, Body: portal}},
		{"the API's own error", failure(500, "internal error")},
		{"a portal", cloudtest.Fault{Status: 200, Body: portal}},
		{"an object", cloudtest.Fault{Status: 200, Body: `{}`}},
		{"null", cloudtest.Fault{Status: 200, Body: `null`}},
		{"cut short", cloudtest.Fault{Status: 200, Body: `[{"id":"5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11","name":"edge"}]`, Truncate: 20}},
		{"no response", cloudtest.Fault{Cut: cloudtest.CutBefore}},
		{"too many requests", cloudtest.Fault{Status: 429, Header: http.Header{"Retry-After": {"1"}}, Body: `{"error":"too many requests"}`}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			edge := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
			row.fault.Method, row.fault.Route = http.MethodGet, cloudtest.RouteFleets
			done := w.Cloud.Inject(row.fault)
			w.Apply("web", inFleet("edge"))
			w.Eventually("the lookup", func() error {
				if fleetLists(w) == 0 {
					return errors.New("there was none")
				}
				return nil
			})
			a := w.Get("web")
			if len(w.Remote()) != 0 || a.Status.ID != "" {
				t.Error("it is registered without its fleet")
			}
			done()
			later(w, 6*time.Second, "web")
			if got := w.Ready("web").Status.Agent.FleetID; got != edge {
				t.Errorf("it is in fleet %s, want %s", got, edge)
			}
			w.One("web")
			if posts := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); posts != 1 {
				t.Errorf("%d registrations were sent, want one", posts)
			}
		})
	}
}

// A list that fails at a resync leaves an Agent as it is: what was listed before counts.
func TestNames_AListThatFailsLater(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	w.Apply("web", inFleet("edge"))
	w.Ready("web")
	for _, fault := range []cloudtest.Fault{{Status: 404, Body: "404 page not found\n"}, failure(500, "internal error")} {
		fault.Method, fault.Route = http.MethodGet, cloudtest.RouteFleets
		done := w.Cloud.Inject(fault)
		w.Cloud.ResetRequests()
		later(w, 12*time.Minute, "web")
		w.Eventually("the failing list", func() error {
			if fleetLists(w) == 0 {
				return errors.New("there was none")
			}
			return nil
		})
		w.Check("web")
		w.Ready("web")
		done()
	}
}

// A suspended Agent makes no list, and is Ready only if what it names was applied.
func TestNames_Suspended(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
	w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "core")
	w.Apply("web", inFleet("edge"))
	w.Ready("web")
	w.Cloud.ResetRequests()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	w.Becomes("web", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	w.Change("web", inFleet("core"))
	w.NotReady("web", v1alpha1.ReasonSuspended)
	if lists := fleetLists(w); lists != 0 {
		t.Errorf("%d lists", lists)
	}
}
