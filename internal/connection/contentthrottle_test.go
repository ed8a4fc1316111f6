/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// A filter that refuses what one namespace sends or reads, and asks to wait, throttles the others once and briefly, also those whose
// first Agent is new. A namespace that is alone waits as long as asked.
func TestThrottle_ForeignResponseToContent_IsBounded(t *testing.T) {
	hour := http.Header{"Retry-After": {"3600"}}
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
		alone bool          // no other namespace uses the project
		asks  string        // the namespace that is throttled
		most  time.Duration // that the project is throttled in 20 requests
		least time.Duration
	}{
		{"429 page", cloudtest.Fault{Status: 429, Body: "<html>"}, false, "b", 10 * time.Second, 9 * time.Second},
		{"429 page with a time", cloudtest.Fault{Status: 429, Body: "<html>", Header: hour}, false, "b", 10 * time.Second, 9 * time.Second},
		{"429 without a body", cloudtest.Fault{Status: 429, Header: hour}, false, "b", 10 * time.Second, 9 * time.Second},
		{"503 page with a time", cloudtest.Fault{Status: 503, Body: "<html>", Header: hour}, false, "b", 10 * time.Second, 9 * time.Second},
		{"502 in JSON with a time", cloudtest.Fault{Status: 502, Body: `{"error":"bad"}`, Header: hour}, false, "b", 10 * time.Second, 9 * time.Second},
		{"429 of the API", cloudtest.Fault{Status: 429, Body: `{"error":"slow down"}`, Header: hour}, false, "b", 10 * time.Second, 9 * time.Second},
		{"503 of the API", cloudtest.Fault{Status: 503, Body: `{"error":"slow down"}`, Header: hour}, false, "b", 20 * time.Hour, 20 * time.Hour},
		{"429 page, one namespace", cloudtest.Fault{Status: 429, Body: "<html>"}, true, "a", 200 * time.Second, 200 * time.Second},
		{"429 page, one namespace, to another", cloudtest.Fault{Status: 429, Body: "<html>"}, true, "b", 10 * time.Second, 9 * time.Second},
		{"429 page with a time, one namespace, to another", cloudtest.Fault{Status: 429, Body: "<html>", Header: hour}, true, "b", 10 * time.Second, 9 * time.Second},
		{"429 page with a time, one namespace, to lists", cloudtest.Fault{Status: 429, Body: "<html>", Header: hour}, true, "", 10 * time.Second, 9 * time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, op := range []string{"update", "register", "get", "delete"} {
				t.Run(op, func(t *testing.T) {
					w := verified(t, cloudtest.Settings{})
					id := w.register("m")
					w.Expect(map[string]int{"a": 20, "b": 20})
					if row.alone {
						w.Expect(map[string]int{"a": 20})
					}
					w.cloud.Inject(row.fault)
					var throttled time.Duration
					for i := range 20 {
						who := ratelimit.Caller{UID: uid("a", i), Namespace: "a"}
						var err error
						switch op {
						case "update":
							err = w.Update(t.Context(), who, id, cloud.Update{Version: ptr.To("v5.0.0")})
						case "get":
							_, err = w.Get(t.Context(), who, id)
						case "delete":
							err = w.Delete(t.Context(), who, id)
						default:
							var permit *connection.Permit
							if permit, err = w.Acquire(who); err == nil {
								_, err = permit.Register(t.Context(), cloud.Registration{Name: "n", MachineID: fmt.Sprint("x", i)})
							}
						}
						if err == nil {
							t.Fatal("it was allowed")
						}
						w.clock.Step(time.Second) // For the rate limit.
						for {
							if _, err := w.registry.Get(w.cp, row.asks); err == nil {
								break
							}
							w.clock.Step(10 * time.Second)
							throttled += 10 * time.Second
						}
					}
					if throttled < row.least || throttled > row.most {
						t.Errorf("throttled for %s, want %s to %s", throttled, row.least, row.most)
					}
				})
			}
		})
	}
}

// The API may limit the requests with the token of one agent, which its users can use up. The others continue.
func TestThrottle_LimitOfOneAgentsToken_IsBounded(t *testing.T) {
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, shared := range []bool{true, false} {
			t.Run(fmt.Sprint(status, " shared ", shared), func(t *testing.T) {
				w := verified(t, cloudtest.Settings{})
				id := w.register("m")
				w.Expect(map[string]int{"a": 1})
				if shared {
					w.Expect(map[string]int{"a": 1, "b": 20})
				}
				w.cloud.Inject(cloudtest.Fault{Status: status, Body: `{"error":"slow down"}`, Header: http.Header{"Retry-After": {"3600"}}})
				who := ratelimit.Caller{UID: uid("a", 1), Namespace: "a"}
				for range 3 {
					if err := w.UpdateAsAgent(t.Context(), who, id, cloud.Update{Version: ptr.To("v5.0.0")}, cloud.NewToken("its-own")); err == nil {
						t.Fatal("it was allowed")
					}
					w.clock.Step(11 * time.Second)
				}
				if _, err := w.registry.Get(w.cp, who.Namespace); (err == nil) != shared {
					t.Errorf("its namespace: %v", err)
				}
				_, err := w.registry.Get(w.cp, "b")
				noError(t, err)
			})
		}
	}
}

// An agent that the API locks, while it processes another request for it, delays the requests for that agent alone.
func TestThrottle_LockedAgent_ThrottlesNothing(t *testing.T) {
	for _, status := range []int{http.StatusConflict, http.StatusLocked, http.StatusTooEarly, http.StatusRequestTimeout} {
		for op, request := range map[string]func(*world, ratelimit.Caller, string) error{
			"get": func(w *world, who ratelimit.Caller, id string) error {
				_, err := w.Get(w.Context(), who, id)
				return err
			},
			"delete": func(w *world, who ratelimit.Caller, id string) error { return w.Delete(w.Context(), who, id) },
			"update": func(w *world, who ratelimit.Caller, id string) error {
				return w.Update(w.Context(), who, id, cloud.Update{Version: ptr.To("v5.0.0")})
			},
		} {
			t.Run(fmt.Sprint(status, " ", op), func(t *testing.T) {
				w := verified(t, cloudtest.Settings{})
				id := w.register("m")
				w.cloud.Inject(cloudtest.Fault{
					Status: status, Body: `{"error":"the agent is being updated"}`, Header: http.Header{"Retry-After": {"600"}},
				})
				e, _ := cloud.AsError(request(w, ratelimit.Caller{UID: "a", Namespace: "a"}, id))
				if e == nil || e.RetryAfter != 10*time.Minute {
					t.Errorf("the failure of the request is %v", e)
				}
				_, err := w.registry.Get(w.cp, somebody.Namespace)
				noError(t, err)
			})
		}
	}
}

// What a filter says about the content of one Agent says nothing about the API behind it: it hides no outage.
func TestBreaker_ForeignResponseToContent_HidesNoOutage(t *testing.T) {
	for _, status := range []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			w.Expect(map[string]int{"a": 20, "b": 20})
			w.cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Cut: cloudtest.CutBefore})
			w.cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: status, Body: "<html>"})
			for i := range 5 {
				_ = w.Update(t.Context(), ratelimit.Caller{UID: uid("a", 1), Namespace: "a"}, id, cloud.Update{Version: ptr.To("v5.0.0")})
				w.clock.Step(11 * time.Second) // The first 429 throttles.
				_, _ = w.Get(t.Context(), ratelimit.Caller{UID: uid("b", i), Namespace: "b"}, id)
				if w.checks.Swap(0) > 0 { // As the controller of CloudProjects does.
					_ = w.Verify(t.Context())
				}
			}
			if _, err := w.registry.Get(w.cp, somebody.Namespace); err == nil {
				t.Error("five requests without a response of the API did not open the breaker")
			}
		})
	}
}
