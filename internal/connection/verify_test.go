/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

var neitherYesNorNo = cloudtest.Fault{
	Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusBadRequest, Body: `{"error":"invalid ID"}`,
}

// mayNotList forbids the list in the API's own words.
var mayNotList = cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`}

// refusesAgents replaces each list but that of a name, as a filter does because of what the agents hold.
func refusesAgents(status int) cloudtest.Fault {
	return cloudtest.Fault{
		Route: cloudtest.RouteList, Status: status, Body: "<html>Blocked</html>",
		Match: func(r *http.Request) bool { return r.URL.Query().Get("name") == "" },
	}
}

// tooLarge is a list whose one agent has so many members that it is too large however they are shortened.
var tooLarge = cloudtest.Fault{
	Route: cloudtest.RouteList, Status: http.StatusOK, Body: `[{"id":"` + otherID + `"` + strings.Repeat(`,"x":1`, 2<<20) + `}]`,
}

func TestResultsOfTheCredentialCheck(t *testing.T) {
	bearer, header := v1alpha1.AuthenticationBearer, v1alpha1.AuthenticationProjectToken
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
		faults   []cloudtest.Fault
		opaque   bool
		agents   bool // the project has some
		wanted   v1alpha1.Authentication
		want     verification.Result
		reason   string // of the failure; "cloud" for one of the API
		requests int
	}{
		{
			name: "a list verifies it", wanted: v1alpha1.AuthenticationAuto,
			agents: true,
			want:   verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(true)}, requests: 1,
		}, {
			name: "an empty list, and a read of what is not there", wanted: v1alpha1.AuthenticationAuto,
			want: verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(true)}, requests: 2,
		}, {
			name: "an empty list, and an inconclusive read", wanted: v1alpha1.AuthenticationAuto,
			faults: []cloudtest.Fault{neitherYesNorNo},
			want:   verification.Result{Authentication: bearer, ListSupported: ptr.To(true)}, requests: 2,
		}, {
			name: "a list of one agent that is too large, and a read of what is not there", wanted: bearer, faults: []cloudtest.Fault{tooLarge},
			want: verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(true)}, requests: 2,
		}, {
			name: "a list that is too large, and an inconclusive read", wanted: bearer, faults: []cloudtest.Fault{tooLarge, neitherYesNorNo},
			want: verification.Result{Authentication: bearer, ListSupported: ptr.To(true)}, requests: 2,
		}, {
			name: "a list that is too large, and a read of another server", wanted: bearer,
			faults: []cloudtest.Fault{tooLarge, {Route: cloudtest.RouteAgent, Status: 404, Body: "<html>Not Found</html>"}},
			reason: "cloud", requests: 2,
		}, {
			name: "an empty list, and a read that is refused", wanted: bearer,
			faults: []cloudtest.Fault{{Route: cloudtest.RouteAgent, Status: 401, Body: `{"error":"invalid token"}`}},
			reason: v1alpha1.ReasonUnauthorized, requests: 2,
		}, {
			name: "the second scheme", wanted: v1alpha1.AuthenticationAuto,
			settings: cloudtest.Settings{Schemes: []cloud.Scheme{cloud.SchemeProjectToken}}, agents: true,
			want: verification.Result{Verified: true, Authentication: header, ListSupported: ptr.To(true)}, requests: 2,
		}, {
			name: "no scheme", wanted: v1alpha1.AuthenticationBearer,
			settings: cloudtest.Settings{Schemes: []cloud.Scheme{cloud.SchemeProjectToken}},
			reason:   v1alpha1.ReasonUnauthorized, requests: 1,
		}, {
			name: "without a list, a read of what is not there", wanted: bearer, settings: cloudtest.Settings{NoList: true},
			want: verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(false)}, requests: 3,
		}, {
			name: "a list that something in between responds to once", wanted: bearer,
			faults: []cloudtest.Fault{{Route: cloudtest.RouteList, Status: 404, Body: "<html>Not Found</html>", Times: 1}},
			want:   verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(true)}, requests: 4,
		}, {
			name: "a list that something in between refuses if it shows agents", wanted: bearer, faults: []cloudtest.Fault{refusesAgents(403)},
			want: verification.Result{
				Verified: true, Authentication: bearer, ListSupported: ptr.To(true),
				PageRefused: "list agents: 403 invalid response: the response is not the API's JSON",
			}, requests: 4,
		}, {
			name: "it writes a failure of the server", wanted: bearer, faults: []cloudtest.Fault{refusesAgents(500)},
			want: verification.Result{
				Verified: true, Authentication: bearer, ListSupported: ptr.To(true), PageRefused: "list agents: 500 unavailable",
			}, requests: 4,
		}, {
			name: "it writes a failure of the server, and a read is inconclusive", wanted: bearer,
			faults: []cloudtest.Fault{refusesAgents(500), neitherYesNorNo},
			want: verification.Result{
				Authentication: bearer, ListSupported: ptr.To(true), PageRefused: "list agents: 500 unavailable",
			}, requests: 4,
		}, {
			name: "something refuses the newest agent, and the API asks to wait for longer than the check does", wanted: bearer,
			faults: []cloudtest.Fault{refusesAgents(403), {
				Route: cloudtest.RouteList, Status: 429, Body: `{"error":"too many requests"}`, Header: http.Header{"Retry-After": {"60"}},
			}},
			want:     verification.Result{Verified: true, Authentication: bearer, PageRefused: "list agents: 429 rate limited: too many requests"},
			requests: 3,
		}, {
			name: "something refuses the newest agent, and the API fails after it", wanted: bearer,
			faults:   []cloudtest.Fault{refusesAgents(404), {Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`}},
			want:     verification.Result{Verified: true, Authentication: bearer, PageRefused: "list agents: 500 unavailable: internal"},
			requests: 3,
		}, {
			name: "a request to wait ends the attempt, in any form", wanted: bearer, faults: []cloudtest.Fault{refusesAgents(429)},
			reason: v1alpha1.ReasonRateLimited, requests: 1,
		}, {
			name: "a failure in the API's own form ends the attempt", wanted: bearer,
			faults: []cloudtest.Fault{{Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`}}, reason: "cloud", requests: 1,
		}, {
			name: "a forbidden list is no list", wanted: bearer,
			faults: []cloudtest.Fault{mayNotList},
			want: verification.Result{
				Verified: true, Authentication: bearer, ListSupported: ptr.To(false), ListForbidden: true,
			}, requests: 2,
		}, {
			name: "without a project there is nothing to list", wanted: bearer, opaque: true,
			want: verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(false)}, requests: 1,
		}, {
			name: "410 is as good as 404", wanted: bearer, opaque: true,
			faults: []cloudtest.Fault{{Status: 410, Body: `{"error":"agent gone"}`}},
			want:   verification.Result{Verified: true, Authentication: bearer, ListSupported: ptr.To(false)}, requests: 1,
		}, {
			name: "400 is inconclusive, and requests are made", wanted: bearer, opaque: true,
			faults: []cloudtest.Fault{neitherYesNorNo},
			want:   verification.Result{Authentication: bearer, ListSupported: ptr.To(false)}, requests: 1,
		}, {
			name: "a 404 of something else is inconclusive", wanted: bearer, opaque: true,
			faults: []cloudtest.Fault{{Status: 404, Body: "<html>Not Found</html>"}}, reason: "cloud", requests: 1,
		}, {
			name: "a missing project is inconclusive", wanted: bearer, opaque: true,
			faults: []cloudtest.Fault{{Status: 404, Body: `{"error":"project not found"}`}}, reason: "cloud", requests: 1,
		}, {
			name: "a 403 of the API is a rejection", wanted: bearer, opaque: true,
			faults: []cloudtest.Fault{{Status: 403, Body: `{"error":"permission denied"}`}},
			reason: v1alpha1.ReasonUnauthorized, requests: 1,
		}, {
			name: "a 403 of a proxy is not", wanted: v1alpha1.AuthenticationAuto, opaque: true,
			faults: []cloudtest.Fault{{Status: 403, Body: "<html>Forbidden</html>"}}, reason: "cloud", requests: 1,
		}, {
			name: "an outage ends the attempt", wanted: v1alpha1.AuthenticationAuto,
			faults: []cloudtest.Fault{{Status: 500}}, reason: "cloud", requests: 3,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.settings)
			if row.opaque {
				w.cloud.AddToken(projectID, "opaque")
				w.token = cloud.NewToken("opaque")
			}
			if row.agents {
				w.registerAside("there")
			}
			w.cp.Spec.Authentication = row.wanted
			w.configure()
			for _, fault := range row.faults {
				w.cloud.Inject(fault)
			}
			err := w.Verify(t.Context())
			switch row.reason {
			case "":
				noError(t, err)
			case "cloud":
				if _, ok := cloud.AsError(err); !ok {
					t.Errorf("error %v, want one of the API", err)
				}
			default:
				w.refused(err, row.reason)
			}
			row.want.ShowsAgents = row.agents
			if diff := cmp.Diff(row.want, w.Result()); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			w.requests(row.requests)
			if _, err := w.registry.Get(w.cp, somebody.Namespace); (err == nil) != (row.reason == "") {
				t.Errorf("calls are made: %v", err)
			}
		})
	}
}

// One agent must not decide about the credentials of all, so a list that does not end shows that there is one.
func TestVerify_ListThatDoesNotEnd_ReadDecides(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.options.Timeout = 2 * time.Second
	w.renew()
	w.cloud.Inject(cloudtest.Fault{
		Route: cloudtest.RouteList, Status: http.StatusOK, Body: `[{"id":"` + otherID + `","machineID":"m","type":"fluentbit"}]`, Drip: time.Hour,
	})
	noError(t, w.Verify(t.Context()))
	if result := w.Result(); !result.Verified || !result.Lists() {
		t.Errorf("%+v", result)
	}
	hangs := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`, Drip: time.Hour})
	if err := w.Verify(t.Context()); err == nil {
		t.Error("a server that ends no response is verified")
	}
	hangs()
}

func TestTheFirstSuccessVerifiesIt(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{NoList: true})
	w.cloud.Inject(neitherYesNorNo)
	noError(t, w.Verify(t.Context()))
	w.forget()
	w.register("m")
	if !w.Result().Verified || w.checks.Load() != 1 {
		t.Errorf("verified %v, with %d calls for a check", w.Result().Verified, w.checks.Load())
	}
	noError(t, w.Verify(t.Context()))
	if !w.Result().Verified {
		t.Error("an inconclusive check took it back")
	}
}

// Else the two would alternate: the check allows requests, and the next one is rejected.
func TestARejectedRequestOutweighsAnInconclusiveCheck(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{NoList: true, Schemes: []cloud.Scheme{cloud.SchemeProjectToken}})
	w.cloud.Inject(neitherYesNorNo)
	w.cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusNotFound, Body: `{"error":"not found"}`,
	})
	noError(t, w.Verify(t.Context()))
	permit, err := w.Acquire(somebody)
	noError(t, err)
	if _, err = permit.Register(t.Context(), registration("m")); err == nil {
		t.Fatal("Bearer is accepted")
	}
	noError(t, w.Verify(t.Context()))
	if got := w.Result().Authentication; got != v1alpha1.AuthenticationProjectToken {
		t.Fatalf("the next scheme is not tried, but %s", got)
	}
	w.register("m")

	w.cloud.RevokeToken(w.token)
	_ = w.Delete(t.Context(), somebody, otherID)
	pause := w.failure(w.Verify(t.Context()), v1alpha1.ReasonUnauthorized).RetryAfter
	if pause <= 0 || pause > 5*time.Second {
		t.Errorf("after one rejection the next try is in %s", pause)
	}
	_, err = w.registry.Get(w.cp, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	w.clock.Step(pause)
	noError(t, w.Verify(t.Context())) // One call may try again.
	_, err = w.registry.Get(w.cp, somebody.Namespace)
	noError(t, err)
}

func TestAListThatDisappearsIsMissedForAWhile(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{NoList: true})
	w.registry.Forget(w.cp.UID) // As after a restart.
	w.cp.Status.URL, w.cp.Status.ProjectID, w.cp.Status.ListSupported = w.cp.Spec.URL, projectID, ptr.To(true)
	w.configure()
	w.forget()
	w.refused(w.Verify(t.Context()), v1alpha1.ReasonInvalidResponse)
	_, err := w.registry.Get(w.cp, somebody.Namespace) // All but registrations proceed: whether there is a list is not known.
	noError(t, err)
	if result := w.Result(); !result.Verified || result.ListSupported != nil || w.wakes.Load() != 1 {
		t.Errorf("%+v, and the Agents are woken %d times", result, w.wakes.Load())
	}
	w.clock.Step(14 * time.Minute)
	w.refused(w.Verify(t.Context()), v1alpha1.ReasonInvalidResponse)

	w.cloud.Configure(func(s *cloudtest.Settings) { s.NoList = false })
	noError(t, w.Verify(t.Context()))
	w.cloud.Configure(func(s *cloudtest.Settings) { s.NoList = true })
	w.clock.Step(14 * time.Minute)
	w.refused(w.Verify(t.Context()), v1alpha1.ReasonInvalidResponse)
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
		t.Errorf("verified credentials are blocked: %v", err)
	}
	w.clock.Step(15 * time.Minute)
	noError(t, w.Verify(t.Context()))
	if lists := w.Result().ListSupported; lists == nil || *lists {
		t.Error("the list is still expected")
	}
}

// A token that replaces another may have fewer rights: then the Agents do not wait until a list may be missing for good.
func TestVerify_NewTokenMayNotList_AgentsContinue(t *testing.T) {
	for _, row := range []struct {
		name     string
		missing  cloudtest.Fault
		replaced bool          // while the operator was down
		waits    time.Duration // until registrations continue
	}{
		{"the API forbids it", mayNotList, false, 10 * time.Second},
		{"the API forbids it after a restart", mayNotList, true, 10 * time.Second},
		{
			"a proxy forbids it", cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusForbidden, Body: "<html>"},
			false, 15 * time.Minute,
		},
		{
			"there is no list", cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusNotFound, Body: `{"error":"not found"}`},
			false, 15 * time.Minute,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			id := w.register("m")
			w.cp.Status.URL, w.cp.Status.ProjectID, w.cp.Status.ListSupported = w.Endpoint().URL, projectID, ptr.To(true)
			w.cloud.Inject(row.missing)
			w.token = w.cloud.AddProject(projectID)
			if row.replaced {
				w.registry.Forget(w.cp.UID)
				var err error
				w.Connection, err = w.registry.Configure(w.cp, connection.Credentials{Token: w.token, Renewed: true})
				noError(t, err)
			} else {
				w.configure()
			}
			for waited := time.Duration(0); waited < row.waits; waited += row.waits / 2 {
				w.refused(w.Verify(t.Context()), v1alpha1.ReasonInvalidResponse)
				if _, err := w.Get(t.Context(), somebody, id); err != nil {
					t.Errorf("after %s the Agents wait: %v", waited, err)
				}
				if lists := w.Result().ListSupported; lists != nil {
					t.Errorf("after %s it is decided that the API lists: %v", waited, *lists)
				}
				w.clock.Step(row.waits / 2)
			}
			noError(t, w.Verify(t.Context()))
			if lists := w.Result().ListSupported; lists == nil || *lists {
				t.Error("the list is still expected")
			}
		})
	}
}
