/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/catalog"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/names"
	"github.com/calyptia-agent-operator/operator/internal/plan"
)

const namesProject = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"

// namesWorld is a project, and a reconciliation of an Agent of it.
type namesWorld struct {
	*cloudtest.Server
	*Task
	clock *clocktesting.FakePassiveClock
	token cloud.Token
}

func newNamesWorld(t *testing.T, settings cloudtest.Settings, changes ...func(*v1alpha1.Agent)) *namesWorld {
	t.Helper()
	w := &namesWorld{Server: cloudtest.New(settings), Task: taskFor(changes...), clock: clocktesting.NewFakePassiveClock(noon)}
	web := w.Start()
	t.Cleanup(web.Close)
	w.Clock = w.clock
	w.Projects = connection.NewRegistry(connection.Options{
		Clock: w.clock, Policy: cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
	})
	w.CloudProject.Spec.URL, w.CloudProject.Spec.Authentication = web.URL, v1alpha1.AuthenticationAuto
	w.token = w.AddProject(namesProject)
	project, err := w.Projects.Configure(w.CloudProject, connection.Credentials{Token: w.token})
	if err == nil {
		err = project.Verify(t.Context())
	}
	if err == nil {
		err = w.connect(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func named(fleet, environment string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) {
		a.Spec.Fleet, a.Spec.Environment = nil, nil
		if fleet != "" {
			a.Spec.Fleet = &v1alpha1.FleetReference{Name: fleet}
		}
		if environment != "" {
			a.Spec.Environment = &v1alpha1.EnvironmentReference{Name: environment}
		}
	}
}

// The API lists an environment whose ID is the project token, and refuses it.
func TestNames_TheIDOfARefusedEntry_ShowsNoToken(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("", "staging"))
	token := w.token.Reveal()
	err := Names{w.Task}.unresolved(names.Environment, "staging", names.Decision{
		Outcome: names.Refused, Entry: names.Entry{ID: token, Name: "staging"},
	}, noon)
	if f, ok := fault.As(err); !ok || strings.Contains(f.Message, token) || !strings.Contains(f.Message, cloud.Redacted) {
		t.Errorf("%v", err)
	}
}

// The rate limit delays what follows the lists by more than the time in which a missing name is not looked up again: they are read once for
// each request to reconcile.
func TestNames_OfOneRequestToReconcile_AreListedOnce(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", "staging"), annotated(v1alpha1.AnnotationReconcileAt, "1"))
	w.AddNamed(namesProject, cloud.Fleets, "edge")
	w.AddNamed(namesProject, cloud.Environments, "staging")
	w.ResetRequests()
	for i, want := range []int{2, 2, 2, 4} {
		if i == 3 {
			w.Task.Agent.Annotations[v1alpha1.AnnotationReconcileAt] = "2"
		}
		if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(w.Requests()); got != want {
			t.Errorf("turn %d: %d lists, want %d", i, got, want)
		}
		w.clock.SetTime(w.clock.Now().Add(catalog.MissingInterval + time.Second))
	}
}

func TestNames_Resolve(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		agent    func(*v1alpha1.Agent)
		fault    *cloudtest.Fault
		class    fault.Class
		reason   string
		quiet    bool
		words    []string
		requests int
	}{
		{name: "nothing is declared", agent: named("", "")},
		{name: "IDs need no list", agent: func(a *v1alpha1.Agent) {
			a.Spec.Fleet, a.Spec.Environment = &v1alpha1.FleetReference{ID: namesProject}, &v1alpha1.EnvironmentReference{ID: "e"}
		}},
		{name: "names", agent: named("edge", "staging"), requests: 2},
		{name: "an unknown fleet", agent: named("new", "staging"), class: fault.Waiting, reason: v1alpha1.ReasonNameNotFound,
			words: []string{`no fleet named "new"`, `"core"`, `"edge"`}, requests: 1},
		{name: "an unknown environment", agent: named("edge", "new"), class: fault.Waiting, reason: v1alpha1.ReasonNameNotFound,
			words: []string{`spec.environment.name`, `no environment named "new"`}, requests: 2},
		{name: "an ambiguous fleet", agent: named("twice", ""), class: fault.Terminal, reason: v1alpha1.ReasonInvalid,
			words: []string{"more than one fleet", "set spec.fleet.id to one of"}, requests: 1},
		{name: "no list", settings: cloudtest.Settings{NoNames: true}, agent: named("edge", ""), class: fault.Terminal,
			reason: v1alpha1.ReasonInvalid, words: []string{"does not list fleets", "set spec.fleet.id"}, requests: 1},
		{name: "not allowed", agent: named("edge", ""), fault: &cloudtest.Fault{Status: 403, Body: `{"error":"permission denied"}`},
			class: fault.Terminal, reason: v1alpha1.ReasonForbidden, words: []string{"set spec.fleet.id"}, requests: 1},
		{name: "an outage", agent: named("edge", ""), fault: &cloudtest.Fault{Status: 503},
			class: fault.Retryable, reason: v1alpha1.ReasonUnavailable, requests: 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newNamesWorld(t, row.settings, row.agent)
			fleet := w.AddNamed(namesProject, cloud.Fleets, "edge")
			for _, name := range []string{"core", "twice", "twice"} {
				w.AddNamed(namesProject, cloud.Fleets, name)
			}
			environment := w.AddNamed(namesProject, cloud.Environments, "staging")
			w.ResetRequests()
			if row.fault != nil {
				row.fault.Header = http.Header{"Content-Type": {"application/json"}}
				w.Inject(*row.fault)
			}
			err := Names{w.Task}.Resolve(t.Context())
			if got := len(w.Requests()); got != row.requests {
				t.Errorf("%d requests, want %d", got, row.requests)
			}
			if row.class == "" {
				want := plan.Targets{}
				switch {
				case row.requests > 0:
					want = plan.Targets{FleetID: fleet, EnvironmentID: environment, EnvironmentName: "staging"}
				case w.Task.Agent.Spec.Fleet != nil:
					want = plan.Targets{FleetID: namesProject, EnvironmentID: "e"}
				}
				got := w.Targets
				if want.EnvironmentName != "" && (!got.EnvironmentListed("staging") || got.EnvironmentListed("edge")) {
					t.Error("the names of environments are others than those that are listed")
				}
				got.EnvironmentListed = nil
				if diff := cmp.Diff(want, got); err != nil || diff != "" {
					t.Errorf("error %v, -want +got:\n%s", err, diff)
				}
				return
			}
			f := agentstatus.Classify(err)
			if f == nil || f.Class != row.class || f.Reason != row.reason || f.Quiet != row.quiet {
				t.Fatalf("failure %+v", f)
			}
			for _, words := range row.words {
				if !strings.Contains(f.Message, words) {
					t.Errorf("the message %q lacks %q", f.Message, words)
				}
			}
		})
	}
}

// The list is read again for want of a name at most every 30 seconds, and for the resync.
func TestNames_WhenTheListIsReadAgain(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", ""))
	first := w.AddNamed(namesProject, cloud.Fleets, "other")
	lists := 0
	for _, row := range []struct {
		name   string
		before func()
		pass   time.Duration
		lists  int
		found  bool
	}{
		{"the first time", nil, 0, 1, false},
		{"right afterwards", nil, time.Second, 0, false},
		{"it is there, and not time yet", func() { w.RenameNamed(namesProject, cloud.Fleets, first, "edge") }, 28 * time.Second, 0, false},
		{"after 30 seconds", nil, time.Second, 1, true},
		{"while it is known", nil, 9 * time.Minute, 0, true},
		{"at the resync", nil, time.Minute, 1, true},
		{"renamed, before the resync", func() { w.RenameNamed(namesProject, cloud.Fleets, first, "gone") }, 9 * time.Minute, 0, true},
		{"renamed, at the resync", nil, time.Minute, 1, false},
	} {
		if row.before != nil {
			row.before()
		}
		w.clock.SetTime(w.clock.Now().Add(row.pass))
		err := Names{w.Task}.Resolve(t.Context())
		now := w.Count(http.MethodGet, cloudtest.RouteFleets)
		if (err == nil) != row.found || now-lists != row.lists {
			t.Errorf("%s: error %v, %d lists, want %d", row.name, err, now-lists, row.lists)
		}
		if f := agentstatus.Classify(err); f != nil && (f.RetryAfter <= 0 || f.RetryAfter > 34*time.Second) {
			t.Errorf("%s: it comes back after %s", row.name, f.RetryAfter)
		}
		lists = now
	}
}

// Who asks for a check gets a list that is at most 30 seconds old.
func TestNames_AnExplicitCheckReadsTheListAgain(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", ""))
	w.AddNamed(namesProject, cloud.Fleets, "edge")
	twin := w.AddNamed(namesProject, cloud.Fleets, "edge")
	resolve := func(ambiguous bool, lists int) {
		t.Helper()
		err := Names{w.Task}.Resolve(t.Context())
		if got := w.Count(http.MethodGet, cloudtest.RouteFleets); (err != nil) != ambiguous || got != lists {
			t.Errorf("error %v, %d lists, want %d", err, got, lists)
		}
	}
	resolve(true, 1)
	w.RenameNamed(namesProject, cloud.Fleets, twin, "core")
	w.clock.SetTime(w.clock.Now().Add(29 * time.Second))
	annotated(v1alpha1.AnnotationReconcileAt, "now")(w.Task.Agent)
	resolve(true, 1)
	w.clock.SetTime(w.clock.Now().Add(time.Second))
	resolve(false, 2)
	resolve(false, 2)
}

// A list that fails changes nothing for who found the name before.
func TestNames_WhatWasListedBeforeCounts(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", ""))
	id := w.AddNamed(namesProject, cloud.Fleets, "edge")
	if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Hour))
	w.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteFleets, Status: 404, Body: "404 page not found\n"})
	if err := (Names{w.Task}).Resolve(t.Context()); err != nil || w.Targets.FleetID != id {
		t.Errorf("error %v, fleet %q", err, w.Targets.FleetID)
	}
	w.Task.Agent.Spec.Fleet.Name = "other"
	if f := agentstatus.Classify(Names{w.Task}.Resolve(t.Context())); f == nil || f.Class != fault.Retryable || !strings.Contains(f.Message, "listed fleets before") {
		t.Errorf("failure %+v", f)
	}
}

func TestNames_AProjectThatIsNotKnown(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", ""))
	w.Endpoint.ProjectID = ""
	f := agentstatus.Classify(Names{w.Task}.Resolve(t.Context()))
	if f == nil || f.Class != fault.Terminal || !strings.Contains(f.Message, "set spec.projectID of the CloudProject, or set spec.fleet.id") {
		t.Errorf("failure %+v", f)
	}
}

func TestNames_Refused(t *testing.T) {
	notFound := func(what cloud.Reason) error {
		return &cloud.Error{Op: "register agent", Status: 404, API: true, Reason: what, Class: cloud.ClassTerminal}
	}
	for _, row := range []struct {
		name  string
		agent func(*v1alpha1.Agent)
		err   error
		again bool
	}{
		{"no failure", named("edge", "staging"), nil, false},
		{"another failure", named("edge", "staging"), errors.New("no"), false},
		{"another reason", named("edge", "staging"), notFound(cloud.ReasonInvalid), false},
		{"the fleet", named("edge", "staging"), notFound(cloud.ReasonFleetNotFound), true},
		{"the environment", named("edge", "staging"), notFound(cloud.ReasonEnvironmentNotFound), true},
		{"a fleet by ID", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{ID: namesProject} }, notFound(cloud.ReasonFleetNotFound), false},
		{"no fleet at all", named("", "staging"), notFound(cloud.ReasonFleetNotFound), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newNamesWorld(t, cloudtest.Settings{}, row.agent)
			w.AddNamed(namesProject, cloud.Fleets, "edge")
			w.AddNamed(namesProject, cloud.Environments, "staging")
			if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
				t.Fatal(err)
			}
			got := Names{w.Task}.Refused(row.err)
			if !row.again {
				if !errors.Is(got, row.err) || (got == nil) != (row.err == nil) {
					t.Errorf("%v became %v", row.err, got)
				}
				return
			}
			if f := agentstatus.Classify(got); f.Class != fault.Waiting || f.Reason != v1alpha1.ReasonNameNotFound || f.RetryAfter < 30*time.Second {
				t.Errorf("failure %+v", f)
			}
			if f := agentstatus.Classify(Names{w.Task}.Resolve(t.Context())); f == nil || f.Reason != v1alpha1.ReasonNameNotFound {
				t.Errorf("who asks afterwards gets %+v", f)
			}
			w.Task.Agent.Status.Agent = &v1alpha1.RemoteAgent{FleetID: w.Project.Catalog(w.EndpointVersion, names.Fleet).ID("edge"), EnvironmentID: w.Project.Catalog(w.EndpointVersion, names.Environment).ID("staging")}
			if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
				t.Errorf("who has it already: %v", err)
			}
			w.Task.Agent.Status.Agent = nil
			w.clock.SetTime(w.clock.Now().Add(31 * time.Second))
			if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
				t.Errorf("after the next list: %v", err)
			}
		})
	}
}

func TestNames_Recall(t *testing.T) {
	shown := v1alpha1.RemoteAgent{FleetID: "f", FleetName: "edge", EnvironmentID: "e", EnvironmentName: "staging"}
	for _, row := range []struct {
		name  string
		agent func(*v1alpha1.Agent)
		shown *v1alpha1.RemoteAgent
		want  bool
	}{
		{"nothing declared", named("", ""), nil, true},
		{"as the status shows", named("edge", "staging"), &shown, true},
		{"another fleet", named("core", "staging"), &shown, false},
		{"another environment", named("edge", "production"), &shown, false},
		{"no status", named("edge", ""), nil, false},
		{"by ID", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{ID: "f"} }, nil, true},
		{"an ID that is not known", named("", "staging"), &v1alpha1.RemoteAgent{EnvironmentName: "staging"}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := taskFor(row.agent)
			p.Agent.Status.Agent = row.shown
			if got := (Names{p}).Recall(); got != row.want {
				t.Errorf("got %t with %+v", got, p.Targets)
			}
		})
	}
}

func TestNames_Show(t *testing.T) {
	w := newNamesWorld(t, cloudtest.Settings{}, named("edge", "staging"))
	fleet := w.AddNamed(namesProject, cloud.Fleets, "edge")
	environment := w.AddNamed(namesProject, cloud.Environments, "staging")
	show := func(now, before v1alpha1.RemoteAgent) []string {
		w.Task.Agent.Status.Agent, w.Base.Status.Agent = &now, &before
		Names{w.Task}.Show()
		return []string{now.FleetName, now.EnvironmentID}
	}
	here := v1alpha1.RemoteAgent{FleetID: fleet, EnvironmentName: "staging"}
	known := v1alpha1.RemoteAgent{FleetID: fleet, FleetName: "once", EnvironmentName: "staging", EnvironmentID: "e"}
	elsewhere := v1alpha1.RemoteAgent{FleetID: "x", FleetName: "y", EnvironmentName: "z", EnvironmentID: "w"}
	if got := show(here, known); !slices.Equal(got, []string{"once", "e"}) {
		t.Errorf("without a list it shows %q, want what was shown", got)
	}
	if got := show(here, elsewhere); !slices.Equal(got, []string{"", ""}) {
		t.Errorf("without a list it shows %q of another fleet", got)
	}
	if err := (Names{w.Task}).Resolve(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := show(here, known); !slices.Equal(got, []string{"edge", environment}) {
		t.Errorf("it shows %q", got)
	}
	w.Task.Agent.Status.Agent = nil
	Names{w.Task}.Show()
}
