/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A user who may see the victim's Agents and create Agents elsewhere tests guesses with a new Agent.
func TestApplied_OfTheSameText_RevealsNothingToAnotherNamespace(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	digests := map[string]string{}
	for _, in := range []*harness.World{w, tenant} {
		in.SetSecret("source", map[string]string{"conf": "[OUTPUT]\n    name http\n    http_passwd 1234\n"})
		w.Guest(in, "guess", func(a *v1alpha1.Agent) {
			a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "source", Key: "conf"}}
		})
		digests[in.Ready("guess").Status.Applied.Fields[v1alpha1.FieldRawConfig]] = in.Namespace
	}
	if len(digests) != 2 {
		t.Errorf("the same text has the same digest in two namespaces: %v", digests)
	}
}

// The agent itself, whose token the tenant has, may hold anything that is long. It hides nobody and can be deleted.
func TestHugeAgent_OfAnyShape_HidesNobodyAndIsDeleted(t *testing.T) {
	numbers := func(n int) []byte { return []byte(`{"a":[` + strings.Repeat("100,", n/4) + `1]}`) }
	for name, change := range map[string]func(*cloud.Agent){
		"numbers in metadata":   func(a *cloud.Agent) { a.Metadata = numbers(3 << 20) },
		"more than is read":     func(a *cloud.Agent) { a.RawConfig = strings.Repeat("x", 20<<20) },
		"many flags":            func(a *cloud.Agent) { a.Flags = strings.Split(strings.Repeat("f,", 1<<20), ",") },
		"many keys in metadata": func(a *cloud.Agent) { a.Metadata = []byte(`{` + strings.Repeat(`"":0,`, 1<<19) + `"b":1}`) },
		"many tags":             func(a *cloud.Agent) { a.Tags = strings.Split(strings.Repeat("t,", 1<<20), ",") },
		"a name":                func(a *cloud.Agent) { a.Name = strings.Repeat("n", 3<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.CloudTimeout = 15 * time.Second })
			w.Ready(w.Apply("before"))
			id := tenant.Ready(w.Guest(tenant, "huge")).Status.ID
			w.Stop()
			w.Cloud.Mutate(id, change)
			tenant.Change("huge", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
			w.Start(tenant.Namespace)
			began := time.Now()
			w.Ready(w.Apply("new"))
			w.Poke("before")
			w.Ready("before")
			tenant.Delete("huge")
			tenant.Gone("huge")
			t.Logf("took %s", time.Since(began))
			if _, there := w.Cloud.Agent(id); there {
				t.Error("the remote agent was left behind")
			}
		})
	}
}

// A UUID means the same in any letters to a service that keeps it as one.
func TestMachineID_DerivedInCapitals_IsRefused(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	derived := w.Ready(w.Apply("owned")).Status.MachineID
	for name, id := range map[string]string{"capitals": strings.ToUpper(derived), "mixed": strings.ToUpper(derived[:8]) + derived[8:]} {
		w.Guest(tenant, name, machine(id))
		tenant.Stalled(name, v1alpha1.ReasonMachineIDConflict, "derives")
	}
	if remote := w.Remote(); len(remote) != 1 {
		t.Errorf("%d remote agents, want 1", len(remote))
	}
}

func (s *scene) limit() {
	limit, burst := int32(3), int32(2)
	s.World.ChangeProject(func(cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &limit, Burst: &burst}
	})
}

// A filter may use the API's own form. Where the API lists agents, a look for what a refused request made comes before the
// next one, so that a filter that forwards each request cannot have agents registered without end.
func TestFilter_ThatSpeaksLikeTheAPI_DuplicatesNothing(t *testing.T) {
	for name, fault := range map[string]cloudtest.Fault{
		"a support ID": {Status: http.StatusForbidden, Body: `{"error":"The requested URL was rejected","supportID":"123"}`},
		"a policy":     {Status: http.StatusUnavailableForLegalReasons, Body: `{"error":"blocked by policy"}`},
		"a quota":      {Status: http.StatusForbidden, Body: `{"error":"agents quota exceeded","quotaLimit":1}`},
		"an ID hidden": {Status: http.StatusCreated, Body: `{"id":"00000000-0000-0000-0000-000000000000","token":"abc","name":"web"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			fault.Method, fault.Route, fault.After = http.MethodPost, cloudtest.RouteAgents, true
			w.Cloud.Inject(fault)
			w.Apply("web")
			w.Eventually("its agent is found", func() error {
				if a := w.Get("web"); a.Status.ID == "" {
					w.Poke("web")
					return fmt.Errorf("%d agents: %s", len(w.Remote()), harness.Describe(a))
				}
				return nil
			})
			w.Ready("web")
			w.One("web")
		})
	}
}

// Those that wait for the rate limit do not want it any more: suspended, or with another CloudProject.
func TestLine_OfAgentsThatTurnAway_DelaysNobody(t *testing.T) {
	for name, away := range map[string]func(*scene) change{
		"suspended": func(*scene) change { return func(a *v1alpha1.Agent) { a.Spec.Suspend = true } },
		"elsewhere": func(s *scene) change { s.own(s.guest, "own"); return in(s.guest.Namespace, "own") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.limit()
			turn := away(s)
			var names []string
			for i := range 150 {
				names = append(names, s.Guest(s.guest, s.name("away-%d", i)))
			}
			for _, n := range names {
				reconciled(s.guest, n)
			}
			for _, n := range names {
				s.guest.Change(n, turn)
			}
			staysPrompt(s)
			harmsNothing(s)
		})
	}
}

// A service writes IDs in capitals. Sets and Secrets compare them, too.
func TestIDs_InCapitals_DuplicateNothing(t *testing.T) {
	for _, settings := range []cloudtest.Settings{
		{UpperIDs: true}, {UpperIDs: true, UniqueMachineIDs: cloudtest.MachineIDDouble}, {UpperIDs: true, NoList: true, GoneAfterDelete: true},
	} {
		t.Run(fmt.Sprintf("%+v", settings), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, settings)
			w.Nodes("a", "b")
			w.AgentSet("logs", w.DaemonSet("logs"))
			w.SetReady("logs", 2)
			w.Apply("web")
			id := w.Ready("web").Status.ID
			w.SetSecret("web-token", map[string]string{v1alpha1.IDKey: strings.ToUpper(id)})
			for range 3 {
				w.Poke("web")
				w.Ready("web")
				w.Restart()
				w.Ready("web")
				w.SetReady("logs", 2)
			}
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 3 {
				t.Errorf("%d registrations", n)
			}
			if n := w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent); n != 0 {
				t.Errorf("%d deletions", n)
			}
			ids, strays := w.StoredSessions(w.GetSet("logs"))
			if len(ids) != 2 || strays != 0 {
				t.Errorf("sessions %v, %d strays", ids, strays)
			}
			w.Delete("web")
			w.Gone("web")
			if n := len(w.Remote()); n != 2 {
				t.Errorf("%d agents are left", n)
			}
		})
	}
}

// The Secret names another agent of the same Agent, which it gives way to. The session follows at once, too.
func TestYield_BringsTheSessionAlong(t *testing.T) {
	for _, masked := range []bool{false, true} {
		t.Run(fmt.Sprint("masked ", masked), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} })
			a := w.Ready("web")
			made := w.Register("web", a.Status.MachineID)
			s := w.Secret("web-token")
			s.Data[v1alpha1.IDKey] = []byte(made.ID)
			delete(s.Data, v1alpha1.TokenKey)
			if masked {
				s.Data[v1alpha1.TokenKey] = []byte("*****")
			}
			if err := w.Client.Update(t.Context(), s); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			w.Eventually("all follows", func() error {
				a := w.Get("web")
				token, session := w.Secret("web-token"), w.Secret("web-session")
				if a.Status.ID != made.ID || string(token.Data[v1alpha1.TokenKey]) != made.Token.Reveal() || tokensecret.SessionID(session) != made.ID {
					return fmt.Errorf("id %s, want %s; session of %s", a.Status.ID, made.ID, tokensecret.SessionID(session))
				}
				return nil
			})
			t.Logf("took %s", time.Since(began))
			w.Ready("web")
			w.Eventually("the duplicate is deleted", func() error {
				if n := len(w.Remote()); n != 1 {
					return fmt.Errorf("%d agents", n)
				}
				return nil
			})
		})
	}
}
