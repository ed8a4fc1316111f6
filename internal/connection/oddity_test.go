/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// One unreadable agent is no outage, however often it is read; a portal in place of the API is.
func TestBreaker_ResponsesThatCannotBeRead(t *testing.T) {
	const html = "<html>Log in</html>"
	type caller struct {
		namespace string
		agent     int
	}
	same := func(namespace string, agents, rounds int) (calls []caller) {
		for range rounds {
			for i := range agents {
				calls = append(calls, caller{namespace, i})
			}
		}
		return calls
	}
	for _, row := range []struct {
		name  string
		body  string
		agent string // whose response it is; of all if empty
		calls []caller
		opens bool
	}{
		{"a portal, five Agents", html, "", same("a", 5, 1), true},
		{"a portal, five Agents of two namespaces", html, "", append(same("a", 3, 1), same("b", 2, 1)...), true},
		{"odd agents of two namespaces that collude", html, otherID, append(same("a", 4, 3), same("b", 4, 3)...), false},
		{"a portal, four Agents again and again", html, "", same("a", 4, 5), false},
		{"JSON that is no agent from two namespaces", `{"status":"ok"}`, "", append(same("a", 3, 1), same("b", 2, 1)...), true},
		{"one agent that is HTML", html, otherID, same("a", 1, 20), false},
		{"one agent that is an array", `[]`, otherID, same("a", 1, 20), false},
		{"one agent without an ID", `{}`, otherID, same("a", 1, 20), false},
		{"one agent that is another", `{"id":"` + projectID + `"}`, otherID, same("a", 1, 20), false},
		{"one agent of a wrong type", `{"id":"` + otherID + `","name":7}`, otherID, same("a", 1, 20), false},
		{"one agent that is cut short", `{"id":"` + otherID + `"`, otherID, same("a", 1, 20), false},
		{"a namespace full of them", html, otherID, same("a", 20, 3), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			if strings.HasPrefix(row.name, "a namespace") || strings.Contains(row.name, "two namespaces") {
				w.Expect(map[string]int{"a": 20, "b": 20})
			}
			w.cloud.Inject(cloudtest.Fault{
				Status: http.StatusOK, Body: row.body, Header: http.Header{"Content-Type": {"application/json"}},
				Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, row.agent) },
			})
			for _, c := range row.calls {
				who := ratelimit.Caller{UID: uid(c.namespace, c.agent), Namespace: c.namespace}
				_, _ = w.Get(t.Context(), who, otherID)
				if w.checks.Swap(0) > 0 { // As the controller of CloudProjects does.
					_ = w.Verify(t.Context())
				}
			}
			_, err := w.registry.Get(w.cp, somebody.Namespace)
			if (err != nil) != row.opens {
				t.Errorf("after %d calls: %v", len(row.calls), err)
			}
		})
	}
}

// Good responses between odd ones change nothing for one Agent, and reset the count for many.
func TestBreaker_OddResponsesAmongGoodOnes_StayClosed(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	good := w.register("good")
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusOK, Body: "<html>", Match: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, otherID)
	}})
	for i := range 20 {
		if _, err := w.Get(t.Context(), agentOf("odd", i), otherID); err == nil {
			t.Fatal("the odd one is read")
		}
		if i%4 == 3 {
			_, err := w.Get(t.Context(), somebody, good)
			noError(t, err)
		}
	}
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
		t.Errorf("%v", err)
	}
}

// A probe that meets the portal again keeps the breaker open, whoever makes it.
func TestBreaker_ProbeThatMeetsThePortal_StaysOpen(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	repair := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusOK, Body: "<html>"})
	for i := range 5 {
		_, _ = w.Get(t.Context(), agentOf("agent", i), otherID)
	}
	open := func() bool { _, err := w.registry.Get(w.cp, somebody.Namespace); return err != nil }
	if !open() {
		t.Fatal("the breaker is closed")
	}
	w.eventually("a probe to be let through", func() bool { return !open() })
	_, _ = w.Get(t.Context(), agentOf("agent", 0), otherID)
	if !open() {
		t.Error("a failed probe closed it")
	}
	repair()
	w.eventually("a probe to be let through", func() bool { return !open() })
	if _, err := w.Get(t.Context(), agentOf("agent", 0), otherID); !cloud.IsGone(err) {
		t.Fatal(err)
	}
	w.eventually("the Agents to be woken", func() bool { return w.wakes.Load() == 1 })
}

// checkIfAsked checks the credentials if that was requested, as the controller of CloudProjects does.
func (w *world) checkIfAsked() {
	if w.checks.Swap(0) > 0 {
		_ = w.Verify(w.Context())
	}
}

// dropped sends registrations of two namespaces that get no response, with the credential checks that they cause.
func (w *world) dropped() {
	w.Helper()
	for i := range 8 {
		namespace := []string{"a", "b"}[i%2]
		permit, err := w.Acquire(ratelimit.Caller{UID: uid(namespace, i), Namespace: namespace})
		if err != nil {
			return
		}
		if _, err := permit.Register(w.Context(), registration("m")); err == nil {
			w.Fatal("it is registered")
		}
		w.checkIfAsked()
	}
}

// Where only registrations are sent, the credential check distinguishes an outage from namespaces whose content is dropped.
func TestBreaker_OnlyRegistrationsFail_TheCredentialCheckDecides(t *testing.T) {
	t.Run("an outage", func(t *testing.T) {
		w := verified(t, cloudtest.Settings{})
		w.Expect(map[string]int{"a": 20, "b": 20})
		w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
		w.dropped()
		if _, err := w.registry.Get(w.cp, somebody.Namespace); err == nil {
			t.Error("the breaker is closed")
		}
	})
	t.Run("a filter", func(t *testing.T) {
		w := verified(t, cloudtest.Settings{})
		id := w.register("other")
		w.Expect(map[string]int{"a": 20, "b": 20})
		w.cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Cut: cloudtest.CutBefore})
		w.dropped()
		repair := w.cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Cut: cloudtest.CutBefore})
		if _, err := w.Get(t.Context(), somebody, id); err == nil {
			t.Fatal("it is read")
		}
		repair()
		if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
			t.Errorf("one lost read opens it: %v", err)
		}
	})
}

// After an outage, requests that something in between drops because of what one namespace declares do not keep the breaker open for
// the others: the credential check decides in place of such a probe.
func TestBreaker_ProbesOfOneNamespaceThatAreDropped_DoNotKeepItOpen(t *testing.T) {
	for name, repaired := range map[string]bool{"the outage is over": true, "it continues": false} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.Expect(map[string]int{"a": 20, "b": 1})
			id := w.register("m")
			repair := w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
			w.fail(id)
			if repaired {
				repair()
				w.cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Cut: cloudtest.CutBefore})
			}
			w.eventually("a probe to be let through", func() bool { _, err := w.registry.Get(w.cp, somebody.Namespace); return err == nil })
			_ = w.Update(t.Context(), ratelimit.Caller{UID: uid("a", 0), Namespace: "a"}, id, cloud.Update{Version: new("v5.0.0")})
			w.checkIfAsked()
			_, err := w.registry.Get(w.cp, somebody.Namespace)
			if (err == nil) != repaired {
				t.Errorf("after a dropped probe of another namespace: %v", err)
			}
		})
	}
}

// After an outage a namespace whose requests never end takes no probe: it would keep the breaker open for all.
func TestBreaker_RequestsOfOneNamespaceThatNeverEnd_DoNotKeepItOpen(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.Expect(map[string]int{"a": 20, "b": 1})
	id := w.register("m")
	repair := w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
	w.fail(id)
	repair()
	release, entered := make(chan struct{}), make(chan struct{}, 4)
	w.cloud.Inject(cloudtest.Fault{Block: release, Entered: entered, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, otherID) }})
	w.eventually("a probe to be let through", func() bool { _, err := w.registry.Get(w.cp, "b"); return err == nil })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var guest sync.WaitGroup
	var refused atomic.Int32
	for i := range cap(entered) {
		guest.Go(func() {
			_, _ = w.Get(ctx, ratelimit.Caller{UID: uid("a", i), Namespace: "a"}, otherID)
			refused.Add(1)
		})
	}
	w.eventually("the guest to ask", func() bool { return len(entered) > 0 || int(refused.Load()) == cap(entered) })
	w.eventually("the victim's request", func() bool {
		w.checkIfAsked()
		_, err := w.Get(t.Context(), ratelimit.Caller{UID: "victim", Namespace: "b"}, id)
		return err == nil || ctx.Err() != nil
	})
	if ctx.Err() != nil {
		t.Error("it had to wait for the requests of another namespace")
	}
	close(release)
	guest.Wait()
}

// After an outage lists still fail, and all else works: the teams continue. Agents are kept as declared without a list.
func TestBreaker_AfterAnOutage_OnlyListsFail_TeamsContinue(t *testing.T) {
	for name, broken := range map[string]cloudtest.Fault{
		"a gateway responds": {Route: cloudtest.RouteList, Status: http.StatusBadGateway, Body: "<html>Bad Gateway</html>"},
		"none responds":      {Route: cloudtest.RouteList, Cut: cloudtest.CutBefore},
	} {
		for teams, agents := range map[string]map[string]int{"one team": {"a": 1}, "two teams": {"a": 1, "b": 1}} {
			t.Run(name+", "+teams, func(t *testing.T) {
				w := verified(t, cloudtest.Settings{})
				w.Expect(agents)
				id := w.register("m")
				repair := w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore})
				w.fail(id)
				repair()
				w.cloud.Inject(broken)
				w.eventually("a read", func() bool {
					w.clock.Step(time.Second)
					_, err := w.Get(t.Context(), ratelimit.Caller{UID: uid("a", 0), Namespace: "a"}, id)
					w.checkIfAsked()
					return err == nil
				})
			})
		}
	}
}

// A namespace counts from its first request: another must not open the breaker before the Agents are counted.
func TestBreaker_AgentsAreNotCountedYet_OneNamespaceDoesNotOpenIt(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	victim := ratelimit.Caller{UID: "victim", Namespace: "b"}
	_, err := w.Get(t.Context(), victim, id)
	noError(t, err)
	w.cloud.Inject(cloudtest.Fault{Cut: cloudtest.CutBefore, Match: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, otherID) }})
	for i := range 20 {
		_, _ = w.Get(t.Context(), ratelimit.Caller{UID: uid("a", i), Namespace: "a"}, otherID)
	}
	_, err = w.Get(t.Context(), victim, id)
	noError(t, err)
}

// fail opens the breaker with deletions, which no content influences.
func (w *world) fail(id string) {
	w.Helper()
	for i := range 5 {
		_ = w.Delete(w.Context(), ratelimit.Caller{UID: uid("a", i), Namespace: "a"}, id)
	}
	w.eventually("the breaker to open", func() bool { _, err := w.registry.Get(w.cp, somebody.Namespace); return err != nil })
	w.eventually("a check", func() bool { return w.checks.Load() > 0 })
	w.checkIfAsked()
}

// Two teams with one Agent each never have four Agents with odd responses: those of all Agents request the credential check.
func TestBreaker_FewAgentsOfTwoNamespaces_OnlyReadsFail_TheCredentialCheckDecides(t *testing.T) {
	of := func(r *http.Request, id string) bool { return strings.HasSuffix(r.URL.Path, id) }
	for name, refuses := range map[string]func(r *http.Request, id string) bool{
		"an outage": nil,
		"a filter":  of,
		"a filter that refuses lists that show the agent, too": func(r *http.Request, id string) bool {
			return of(r, id) || refusesAgents(0).Match(r) && strings.Contains(r.URL.Path, "/projects/")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("other")
			w.Expect(map[string]int{"a": 1, "b": 1})
			fault, outage := cloudtest.Fault{Cut: cloudtest.CutBefore}, refuses == nil
			if !outage {
				fault.Match = func(r *http.Request) bool { return refuses(r, id) }
			}
			w.cloud.Inject(fault)
			for i := range 12 {
				namespace := []string{"a", "b"}[i%2]
				_, _ = w.Get(t.Context(), ratelimit.Caller{UID: uid(namespace, 0), Namespace: namespace}, id)
				if w.checks.Swap(0) > 0 { // As the controller of CloudProjects does.
					_ = w.Verify(t.Context())
				}
			}
			if _, err := w.registry.Get(w.cp, somebody.Namespace); (err != nil) != outage {
				t.Errorf("the circuit breaker: %v", err)
			}
		})
	}
}
