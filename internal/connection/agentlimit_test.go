/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// limited is the API's own response to one request too many.
func limited(seconds string) cloudtest.Fault {
	return cloudtest.Fault{
		Status: http.StatusTooManyRequests, Body: `{"error":"too many requests"}`, Header: http.Header{"Retry-After": {seconds}},
	}
}

// The API may limit the requests for one agent, which whoever edits its Agent can use up: the Agent waits as long as asked, all others
// briefly, and its namespace not much longer. So it is if the Agent is edited again and again.
func TestThrottle_LimitOfOneAgent_LastsForThatAgent(t *testing.T) {
	for op, request := range map[string]func(*world, ratelimit.Caller, string) error{
		"get": func(w *world, who ratelimit.Caller, id string) error {
			_, err := w.Get(w.Context(), who, id)
			return err
		},
		"update": func(w *world, who ratelimit.Caller, id string) error {
			return w.Update(w.Context(), who, id, cloud.Update{Version: ptr.To("v5.0.0")})
		},
		"delete": func(w *world, who ratelimit.Caller, id string) error { return w.Delete(w.Context(), who, id) },
		"register": func(w *world, who ratelimit.Caller, _ string) error {
			permit, err := w.Acquire(who)
			if err == nil {
				_, err = permit.Register(w.Context(), registration("its-own"))
			}
			return err
		},
	} {
		t.Run(op, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			w.Expect(map[string]int{"a": 2, "b": 1})
			w.forget()
			w.cloud.Inject(limited("3600"))
			edited := ratelimit.Caller{UID: "edited", Namespace: "a"}
			if err := request(w, edited, id); err == nil {
				t.Fatal("it was allowed")
			}
			if w.checks.Load() != 1 {
				t.Errorf("%d credential checks are requested, want 1, which shows whose limit it is", w.checks.Load())
			}
			for range 59 {
				w.clock.Step(time.Minute)
				w.refused(request(w, edited, id), v1alpha1.ReasonRateLimited)
				for _, namespace := range []string{"a", "b"} {
					_, err := w.registry.Get(w.cp, namespace)
					noError(t, err)
				}
			}
			w.requests(1)
			w.clock.Step(time.Minute)
			_ = request(w, edited, id)
			w.requests(2)
		})
	}
}

// A registration whose intent was being written when the API limited its Agent waits as well.
func TestThrottle_LimitOfOneAgent_HoldsForItsPermit(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	who := ratelimit.Caller{UID: "a", Namespace: "a"}
	var permits []*connection.Permit
	for range 2 {
		permit, err := w.Acquire(who)
		noError(t, err)
		permits = append(permits, permit)
	}
	w.cloud.Inject(limited("3600"))
	for _, permit := range permits {
		_, _ = permit.Register(t.Context(), registration("m"))
		w.clock.Step(time.Minute)
	}
	w.requests(1)
}

// A limit of the project rejects the credential check, too: that is found out with few requests, also by many namespaces, and then all
// wait as long as asked.
func TestThrottle_LimitOfTheProject_IsFoundOut(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("m")
	const namespaces, minutes = 100, 10
	agents := map[string]int{}
	var callers []ratelimit.Caller
	for i := range namespaces {
		who := ratelimit.Caller{UID: uid("agent", i), Namespace: string(uid("team", i))}
		callers, agents[who.Namespace] = append(callers, who), 1
	}
	w.Expect(agents)
	w.forget()
	w.cloud.Inject(limited("60"))
	checks, held := false, 0
	for second := range minutes * 60 {
		for i := range callers {
			_, _ = w.Get(t.Context(), callers[(second+i)%namespaces], id)
		}
		checks = checks || w.checks.Swap(0) > 0
		before := len(w.cloud.Requests())
		if checks { // As the controller of CloudProjects does.
			w.refused(w.Verify(t.Context()), v1alpha1.ReasonRateLimited)
			checks = len(w.cloud.Requests()) == before
		}
		if _, err := w.registry.Get(w.cp, "a"); err != nil {
			held++
		}
		w.clock.Step(time.Second)
	}
	if n := len(w.cloud.Requests()); n > minutes*6 {
		t.Errorf("%d requests in %d minutes, want one in 10 seconds at most", n, minutes)
	}
	if held < minutes*60 {
		t.Errorf("all wait for %d seconds of %d", held, minutes*60)
	}
}
