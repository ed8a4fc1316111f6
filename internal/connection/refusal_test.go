/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// noBearer rejects registrations with Authorization: Bearer, which the list accepts.
var noBearer = cloudtest.Fault{
	Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusUnauthorized, Body: `{"error":"invalid token"}`,
	Match: func(r *http.Request) bool { return r.Header.Get("Authorization") != "" },
}

// tryToRegister makes a registration if the Connection allows it.
func (w *world) tryToRegister(machine string) error {
	w.Helper()
	permit, err := w.Acquire(somebody)
	if err == nil {
		_, err = permit.Register(w.Context(), registration(machine))
	}
	return err
}

func (w *world) authenticatesWith(want v1alpha1.Authentication) {
	w.Helper()
	if got := w.Result().Authentication; got != want {
		w.Errorf("the Project authenticates with %s, want %s", got, want)
	}
}

// A scheme that the list accepts, and other requests do not, is not verified again and again.
func TestASchemeThatOnlyTheListAcceptsIsReplaced(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.cloud.Inject(noBearer)
	noError(t, w.Verify(t.Context()))
	if err := w.tryToRegister("m"); err == nil {
		t.Fatal("Bearer is accepted")
	}
	noError(t, w.Verify(t.Context()))
	w.authenticatesWith(v1alpha1.AuthenticationBearer) // Once may be a moment's trouble.
	if err := w.tryToRegister("m"); err == nil {
		t.Fatal("Bearer is accepted")
	}
	noError(t, w.Verify(t.Context()))
	w.authenticatesWith(v1alpha1.AuthenticationProjectToken)
	noError(t, w.tryToRegister("m"))

	w.clock.Step(24 * time.Hour)
	noError(t, w.Verify(t.Context()))
	w.authenticatesWith(v1alpha1.AuthenticationProjectToken) // It is not fallen for again.
	noError(t, w.tryToRegister("n"))
	if posts := w.cloud.Count(http.MethodPost, cloudtest.RouteAgents); posts != 4 {
		t.Errorf("%d registrations were sent, want 4", posts)
	}

	w.cp.Status.URL, w.cp.Status.ProjectID = w.cp.Spec.URL, projectID
	w.cp.Status.Authentication = w.Result().Authentication
	w.registry.Forget(w.cp.UID) // As after a restart.
	w.configure()
	noError(t, w.Verify(t.Context()))
	w.authenticatesWith(v1alpha1.AuthenticationProjectToken)
}

func TestARejectedOnlySchemeIsRetriedWithBackoff(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.registerAside("there")
	w.cp.Spec.Authentication = v1alpha1.AuthenticationBearer
	w.configure()
	w.cloud.Inject(noBearer)
	noError(t, w.Verify(t.Context()))
	_ = w.tryToRegister("m")
	noError(t, w.Verify(t.Context()))
	_ = w.tryToRegister("m")
	var pauses []time.Duration
	for range 8 {
		w.forget()
		pause := w.failure(w.Verify(t.Context()), v1alpha1.ReasonUnauthorized).RetryAfter
		if w.requests(0); w.wakes.Load() != 0 {
			t.Error("the Agents are woken")
		}
		pauses = append(pauses, pause)
		w.clock.Step(pause)
		noError(t, w.Verify(t.Context()))
		_ = w.tryToRegister("m")
		if posts := w.cloud.Count(http.MethodPost, cloudtest.RouteAgents); posts != 1 {
			t.Errorf("%d registrations were sent, want 1", posts)
		}
	}
	if pauses[0] < 2*time.Second || pauses[0] > 5*time.Second || pauses[7] < 2*time.Minute || pauses[7] > 5*time.Minute {
		t.Errorf("the pauses are %v", pauses)
	}

	w.refused(w.Verify(t.Context()), v1alpha1.ReasonUnauthorized)
	w.Reset() // A user says that it is fixed.
	noError(t, w.Verify(t.Context()))
}

// Concurrent requests are one rejection, also if some of the responses arrive after the next check.
func TestConcurrentRejectionsCountOnce(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	entered, release := make(chan struct{}), make(chan struct{})
	refused := noBearer
	refused.Times, refused.Entered, refused.Block = 8, entered, release
	w.cloud.Inject(refused)
	first := noBearer
	first.Times = 1
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() { _ = w.tryToRegister("m") })
	}
	for range 8 {
		<-entered
	}
	w.cloud.Inject(first)
	_ = w.tryToRegister("m")
	noError(t, w.Verify(t.Context()))
	close(release)
	calls.Wait()
	noError(t, w.Verify(t.Context()))
	w.authenticatesWith(v1alpha1.AuthenticationBearer)
}

func TestRejectionsFarApartAreNotCountedTogether(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	for range 3 {
		once := noBearer
		once.Times = 1
		w.cloud.Inject(once)
		_ = w.tryToRegister("m")
		noError(t, w.Verify(t.Context()))
		w.authenticatesWith(v1alpha1.AuthenticationBearer)
		w.clock.Step(11 * time.Minute)
	}
}

// A 401 in one of a hundred requests, while the others show that the token is valid, stops the Agents for no longer than a check takes.
func TestAMomentsTrouble_DoesNotStopTheAgents(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("a")
	sent := 0
	w.cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`,
		Match: func(*http.Request) bool { sent++; return sent%100 == 0 },
	})
	for trouble := range 30 {
		for {
			w.clock.Step(time.Second)
			if _, err := w.Get(t.Context(), somebody, id); err != nil {
				break
			}
		}
		if err := w.Verify(t.Context()); err != nil {
			t.Fatalf("after the 401 number %d the Agents wait: %v", trouble+1, err)
		}
	}
}

// An API may accept some requests with a scheme that it refuses for others: what is accepted shows nothing of those.
func TestARefusedRegistration_OtherRequestsAreAccepted_SchemeIsReplaced(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.cloud.Inject(noBearer)
	w.registerAside("there")
	noError(t, w.Verify(t.Context()))
	id := w.cloud.Agents(projectID)[0].ID
	for range 2 {
		if _, err := w.Get(t.Context(), somebody, id); err != nil {
			t.Fatal(err)
		}
		if err := w.tryToRegister("m"); err == nil {
			t.Fatal("Bearer is accepted")
		}
		noError(t, w.Verify(t.Context()))
	}
	w.authenticatesWith(v1alpha1.AuthenticationProjectToken)
	noError(t, w.tryToRegister("m"))
}

// A token that is rejected for one kind of requests stops these alone: what the API accepts otherwise goes on. Revoked, it stops all.
func TestRejectionsOfOneKind_DoNotStopOtherRequests(t *testing.T) {
	deletes := func(w *world, id string) error { return w.Delete(w.Context(), theirs, id) }
	updates := func(w *world, id string) error {
		return w.Update(w.Context(), theirs, id, cloud.Update{Name: new("other")})
	}
	registers := func(w *world, _ string) error { return w.tryToRegister("m") }
	for _, row := range []struct {
		name, method   string
		authentication v1alpha1.Authentication
		send           func(w *world, id string) error
	}{
		{"deletions", http.MethodDelete, v1alpha1.AuthenticationAuto, deletes},
		{"deletions, one scheme", http.MethodDelete, v1alpha1.AuthenticationBearer, deletes},
		{"updates", http.MethodPatch, v1alpha1.AuthenticationAuto, updates},
		{"registrations", http.MethodPost, v1alpha1.AuthenticationBearer, registers},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			w.cp.Spec.Authentication = row.authentication
			w.configure()
			noError(t, w.Verify(t.Context()))
			id := w.register("a")
			refusal := cloudtest.Fault{Method: row.method, Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`}
			w.cloud.Inject(refusal)
			for range 3600 { // seconds
				w.clock.Step(time.Second)
				if err := row.send(w, id); err == nil {
					t.Fatal("it is accepted")
				}
				noError(t, w.Verify(t.Context())) // As the controller does after a 401.
				if _, err := w.Get(t.Context(), somebody, id); err != nil {
					t.Fatalf("another request: %v", err)
				}
			}
			if sent := w.cloud.Count(row.method, ""); sent > 60 {
				t.Errorf("in an hour %d of them were sent", sent)
			}
			if f := w.failure(row.send(w, id), v1alpha1.ReasonForbidden); f.RetryAfter <= 0 || f.Code != fault.KindRejected {
				t.Errorf("it is retried after %s, its code is %q", f.RetryAfter, f.Code)
			}

			refusal.Method = ""
			w.cloud.Inject(refusal)
			_, _ = w.Get(t.Context(), somebody, id)
			w.refused(w.Verify(t.Context()), v1alpha1.ReasonUnauthorized)
			if _, err := w.registry.Get(w.cp, somebody.Namespace); err == nil {
				t.Error("a revoked token is used")
			}
		})
	}
}

var theirs = ratelimit.Caller{UID: "theirs", Namespace: "theirs"}

// Concurrent requests are one rejection here, too: the pause does not grow with their number.
func TestConcurrentRejectionsOfOneKindCountOnce(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("a")
	entered, release := make(chan struct{}), make(chan struct{})
	refusal := cloudtest.Fault{Method: http.MethodDelete, Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`, Times: 1}
	w.cp.Spec.Authentication = v1alpha1.AuthenticationBearer
	w.configure()
	noError(t, w.Verify(t.Context()))
	w.cloud.Inject(refusal)
	_ = w.Delete(t.Context(), theirs, id)
	noError(t, w.Verify(t.Context()))
	refusal.Times, refusal.Entered, refusal.Block = 8, entered, release
	w.cloud.Inject(refusal)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() { _ = w.Delete(t.Context(), theirs, id) })
	}
	for range 8 {
		<-entered
	}
	close(release)
	calls.Wait()
	if pause := w.failure(w.Delete(t.Context(), theirs, id), v1alpha1.ReasonForbidden).RetryAfter; pause > 6*time.Second {
		t.Errorf("the pause is %s", pause)
	}
	noError(t, w.Verify(t.Context()))
	w.clock.Step(6 * time.Second)
	noError(t, w.Delete(t.Context(), theirs, id))
}

// A scheme that is rejected for deletions alone is not left for long for one that is accepted for reads alone.
func TestRejectionsOfOneKind_TheOtherSchemeIsWorse_RegistrationsGoOn(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("a")
	for _, match := range []func(*http.Request) bool{
		func(r *http.Request) bool { return r.Method == http.MethodDelete },
		func(r *http.Request) bool { return r.Header.Get("X-Project-Token") != "" && r.Method != http.MethodGet },
	} {
		w.cloud.Inject(cloudtest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`, Match: match})
	}
	last := 0
	for second := range 2 * 3600 {
		w.clock.Step(time.Second)
		_ = w.Delete(w.Context(), theirs, id)
		_ = w.Verify(t.Context()) // As the controller does after a 401.
		_, _ = w.Get(t.Context(), somebody, id)
		if w.tryToRegister(fmt.Sprint("machine-", second)) == nil {
			last = second
		} else if second-last > 60 {
			t.Fatalf("none was registered for a minute at %s", time.Duration(second)*time.Second)
		}
		_ = w.Verify(t.Context())
	}
}
