/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

func TestARejectedTokenCostsOneRequest(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.cloud.RevokeToken(w.token)
	for range 100 {
		_, _ = w.Get(t.Context(), somebody, otherID)
	}
	w.requests(1)
	if got := w.checks.Load(); got != 1 {
		t.Errorf("%d checks were requested, want 1", got)
	}
	_, err := w.registry.Get(w.cp, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	if w.Result().Verified {
		t.Error("it still counts as verified")
	}
}

func TestTheTokenOfAnAgentDoesNotAffectTheProject(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	update := cloud.Update{Version: ptr.To("v5.0.0")}
	err := w.UpdateAsAgent(t.Context(), somebody, id, update, cloud.NewToken("revoked"))
	if e, ok := cloud.AsError(err); !ok || e.Status != http.StatusUnauthorized {
		t.Fatalf("error %v", err)
	}
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil || w.checks.Load() != 0 {
		t.Errorf("the project is blocked (%v) or needs verification (%d times)", err, w.checks.Load())
	}
	agent, _ := w.cloud.Agent(id)
	noError(t, w.UpdateAsAgent(t.Context(), somebody, id, update, agent.Token))
	requests := w.cloud.Requests()
	if last := requests[len(requests)-1]; last.Scheme != cloud.SchemeAgentToken || last.Header.Get("Authorization") != "" {
		t.Errorf("the update was sent with %v", last.Header)
	}
}

func TestAThrottleAppliesToAll(t *testing.T) {
	seconds := func(s string) http.Header { return http.Header{"Retry-After": {s}} }
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
		want  time.Duration // zero: not throttled
	}{
		{"429 with a time", cloudtest.Fault{Status: 429, Header: seconds("30")}, 30 * time.Second},
		{"429 without", cloudtest.Fault{Status: 429}, 10 * time.Second},
		{"503 with a time", cloudtest.Fault{Status: 503, Header: seconds("60")}, time.Minute},
		{"503 without", cloudtest.Fault{Status: 503}, 0},
		{"500", cloudtest.Fault{Status: 500, Header: seconds("60")}, time.Minute},
		{"404", cloudtest.Fault{Status: 404, Header: seconds("60")}, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			row.fault.Times = 1
			w.cloud.Inject(row.fault)
			_, _ = w.Get(t.Context(), somebody, otherID)
			_, err := w.registry.Get(w.cp, somebody.Namespace)
			if row.want == 0 {
				noError(t, err)
				return
			}
			f := w.failure(err, v1alpha1.ReasonRateLimited)
			if f.RetryAfter < row.want || f.RetryAfter > row.want*12/10 {
				t.Errorf("asked to retry in %s, want %s and a little more", f.RetryAfter, row.want)
			}
			w.refused(w.Verify(t.Context()), v1alpha1.ReasonRateLimited)
			_, err = w.Acquire(ratelimit.Caller{UID: "another", Namespace: somebody.Namespace})
			w.refused(err, v1alpha1.ReasonRateLimited)
			w.requests(1)
			if w.checks.Load() != 1 {
				t.Errorf("%d checks", w.checks.Load())
			}
			w.clock.Step(row.want)
			if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
				t.Errorf("when it is over: %v", err)
			}
		})
	}
}

func TestTheBreakerAllowsOneProbe(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	repair := w.cloud.Inject(cloudtest.Fault{Status: http.StatusBadGateway, Body: "<html>"})
	w.eventually("the breaker to open", func() bool {
		_, _ = w.Get(t.Context(), somebody, otherID)
		_, err := w.registry.Get(w.cp, somebody.Namespace)
		return err != nil
	})
	w.requests(5)
	_, err := w.registry.Get(w.cp, somebody.Namespace)
	if f := w.failure(err, v1alpha1.ReasonUnavailable); f.RetryAfter <= 0 {
		t.Error("nobody is given a retry time")
	}
	w.eventually("a check", func() bool { return w.checks.Load() == 1 })

	repair()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Entered: entered, Block: release, Times: 1})
	w.eventually("a probe to be let through", func() bool { _, err := w.registry.Get(w.cp, somebody.Namespace); return err == nil })
	var probe sync.WaitGroup
	probe.Go(func() { _, _ = w.Get(context.WithoutCancel(t.Context()), somebody, otherID) })
	<-entered
	for range 10 {
		_, err := w.Acquire(ratelimit.Caller{UID: "another", Namespace: somebody.Namespace})
		if f := w.failure(err, v1alpha1.ReasonUnavailable); !f.Quiet {
			t.Error("a condition would report a probe under way")
		}
	}
	close(release)
	probe.Wait()
	w.eventually("the Agents to be woken", func() bool { return w.wakes.Load() == 1 })
	w.eventually("a further check", func() bool { return w.checks.Load() == 2 })
	permit, err := w.Acquire(ratelimit.Caller{UID: "another", Namespace: somebody.Namespace})
	noError(t, err)
	permit.Release()
	w.requests(6)
}

func TestWhatOpensTheBreaker(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
		opens bool
	}{
		{"connections that break", cloudtest.Fault{Cut: cloudtest.CutBefore}, true},
		{"a proxy's own error", cloudtest.Fault{Status: 502, Body: "<html>"}, true},
		{"a gateway's error that looks like the API's", cloudtest.Fault{Status: 504, Body: `{"error":"upstream timeout"}`}, true},
		{"a portal", cloudtest.Fault{Status: 200, Body: "<html>Log in</html>"}, true},
		{"an error of the API itself", cloudtest.Fault{Status: 500, Body: `{"error":"internal"}`}, false},
		{"agents that are not there", cloudtest.Fault{}, false},
		{"an agent that is too large", cloudtest.Fault{Status: 200, Body: strings.Repeat(" ", 10<<20)}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.cloud.Inject(row.fault)
			for i := range 5 {
				_, _ = w.Get(t.Context(), agentOf("agent", i), otherID)
			}
			if _, err := w.registry.Get(w.cp, somebody.Namespace); (err != nil) != row.opens {
				t.Errorf("after five: %v", err)
			}
		})
	}
}

// Nor is it an outage that an agent is larger than what is read of a response: the tenant made it so.
func TestAnAgentThatIsTooLargeOpensNoBreaker(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.cloud.Inject(cloudtest.Fault{Status: http.StatusOK, Body: strings.Repeat(" ", 10<<20) + `{"id":"` + otherID + `"}`})
	for range 5 {
		if _, err := w.Get(t.Context(), somebody, otherID); !errors.Is(err, cloud.ErrTooLarge) {
			t.Fatal(err)
		}
	}
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
		t.Errorf("after five: %v", err)
	}
}

// A tenant chooses what is sent: what a firewall makes of it must not stop the others.
func TestContentThatIsRefusedOpensNoBreaker(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusBadRequest, http.StatusNotAcceptable} {
		w := verified(t, cloudtest.Settings{})
		w.cloud.Inject(cloudtest.Fault{Status: status, Body: "<html>Blocked</html>"})
		for range 5 {
			err := w.Update(t.Context(), somebody, otherID, cloud.Update{Name: new("other")})
			if e, ok := cloud.AsError(err); !ok || e.Reason != cloud.ReasonContentRefused {
				t.Fatalf("%d: %v", status, err)
			}
		}
		if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
			t.Errorf("after five times %d: %v", status, err)
		}
	}
}

func TestAnUnusedPermitDoesNotCount(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	for range 100 {
		permit, err := w.Acquire(somebody)
		noError(t, err)
		permit.Release()
	}
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
		t.Errorf("unused permits opened the breaker: %v", err)
	}
	w.requests(0)
}

func TestARegistrationThatWasNotSentSaysSo(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	permit, err := w.Acquire(somebody)
	noError(t, err)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = permit.Register(ended, registration("m"))
	if e, ok := cloud.AsError(err); !ok || !e.NotSent || !e.NothingMade() {
		t.Errorf("error %v", err)
	}
	w.requests(0)
}

func TestAResponseToOldCredentialsIsIgnored(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Entered: entered, Block: release, Times: 1})
	old := w.Connection
	var late sync.WaitGroup
	late.Go(func() { _, _ = old.Get(context.WithoutCancel(t.Context()), somebody, otherID) })
	<-entered
	w.cloud.RevokeToken(w.token)
	w.token = w.cloud.AddProject(projectID)
	w.configure()
	noError(t, w.Verify(t.Context()))
	close(release)
	late.Wait()
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
		t.Errorf("a late 401 blocks the new token: %v", err)
	}
}

func TestOnlyAgentWritesIsRememberedForTheCredentials(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	if w.OnlyAgentWrites() {
		t.Error("remembered before it was seen")
	}
	w.SetOnlyAgentWrites(true)
	if !w.OnlyAgentWrites() {
		t.Error("not remembered")
	}
	w.token = w.cloud.AddProject(projectID)
	w.configure()
	if w.OnlyAgentWrites() {
		t.Error("remembered for other credentials")
	}
}

func TestCallsReachTheAPI(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	noError(t, w.Update(t.Context(), somebody, id, cloud.Update{Name: ptr.To("other")}))
	agent, err := w.Get(t.Context(), somebody, id)
	noError(t, err)
	if agent.Name != "other" || agent.MachineID != "m" {
		t.Errorf("agent %+v", agent)
	}
	noError(t, w.Delete(t.Context(), somebody, id))
	if _, err := w.Get(t.Context(), somebody, id); !cloud.IsGone(err) {
		t.Errorf("after the deletion: %v", err)
	}
}

// nameless is a 404 of the API that does not say what is missing.
const nameless = `{"error":"not found"}`

// A response from one endpoint, or to other credentials, does not count for the current ones.
func TestAResponseFromBeforeAChangeIsIgnored(t *testing.T) {
	for name, row := range map[string]struct {
		call func(*world, *connection.Connection, string) error
		want string // the reason of the failure; none if the response counts
		body string // of a 404 in place of the real response; the real one if empty
	}{
		"a read": {func(w *world, p *connection.Connection, id string) error {
			_, err := p.Get(w.Context(), somebody, id)
			return err
		}, v1alpha1.ReasonProgressing, ""},
		"a read of what is gone": {func(w *world, p *connection.Connection, _ string) error {
			_, err := p.Get(w.Context(), somebody, otherID)
			return err
		}, v1alpha1.ReasonProgressing, ""},
		"an update of what is gone": {func(w *world, p *connection.Connection, _ string) error {
			return p.Update(w.Context(), somebody, otherID, cloud.Update{Name: ptr.To("other")})
		}, v1alpha1.ReasonProgressing, ""},
		"a deletion of what is gone": {func(w *world, p *connection.Connection, _ string) error {
			return p.Delete(w.Context(), somebody, otherID)
		}, v1alpha1.ReasonProgressing, ""},
		"a deletion": {func(w *world, p *connection.Connection, id string) error { return p.Delete(w.Context(), somebody, id) }, "", ""},
		"an update by the agent of what is gone": {func(w *world, p *connection.Connection, _ string) error {
			return p.UpdateAsAgent(w.Context(), somebody, otherID, cloud.Update{Name: ptr.To("other")}, w.token)
		}, v1alpha1.ReasonProgressing, `{"error":"agent not found"}`},
		"a read that meets a 404 which names nothing": {func(w *world, p *connection.Connection, id string) error {
			_, err := p.Get(w.Context(), somebody, id)
			return err
		}, v1alpha1.ReasonProgressing, nameless},
		"an update that meets a 404 which names nothing": {func(w *world, p *connection.Connection, id string) error {
			return p.Update(w.Context(), somebody, id, cloud.Update{Name: ptr.To("other")})
		}, v1alpha1.ReasonProgressing, nameless},
		"an update by the agent that meets a 404 which names nothing": {func(w *world, p *connection.Connection, id string) error {
			return p.UpdateAsAgent(w.Context(), somebody, id, cloud.Update{Name: ptr.To("other")}, w.token)
		}, v1alpha1.ReasonProgressing, nameless},
		"a deletion that meets a 404 which names nothing": {func(w *world, p *connection.Connection, id string) error {
			return p.Delete(w.Context(), somebody, id)
		}, v1alpha1.ReasonProgressing, nameless},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			entered, release := make(chan struct{}, 1), make(chan struct{})
			f := cloudtest.Fault{Route: cloudtest.RouteAgent, Entered: entered, Block: release, Times: 1, Body: row.body}
			if row.body != "" {
				f.Status, f.Header = http.StatusNotFound, http.Header{"Content-Type": {"application/json"}}
			}
			w.cloud.Inject(f)
			failure, old := make(chan error), w.Connection
			go func() { failure <- row.call(w, old, id) }()
			<-entered
			w.token = w.cloud.AddProject(otherID)
			w.configure()
			close(release)
			if err := <-failure; row.want != "" {
				if !w.failure(err, row.want).Quiet {
					t.Errorf("%v is shown", err)
				}
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// The outcome of a registration in doubt is found even while registration is paused.
func TestARegistrationIsRepeatedWhileRegistrationIsPaused(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	permit, err := w.Acquire(somebody)
	noError(t, err)
	w.PauseRegistration(fault.Waitingf(v1alpha1.ReasonProjectNotReady, "closed"))
	_, err = permit.Repeat(t.Context(), registration("m"))
	noError(t, err)
}
