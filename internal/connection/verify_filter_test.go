/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// One odd response, and an API that takes three seconds to list: nothing refuses the newest agent.
func TestVerify_OneOddResponse_SlowLists_NothingRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, cloudtest.Settings{})
	w.registerAside("there")
	w.configure()
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 502, Body: "<html>Bad Gateway</html>", Times: 1})
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Latency: 3 * time.Second})
	if err := w.Verify(t.Context()); err != nil || w.Result().PageRefused != "" || !w.Result().Lists() {
		t.Errorf("error %v, result %+v", err, w.Result())
	}
}

// A filter drops each list that shows an agent in silence, or the list by name fails, too: after a restart the token is verified all the
// same, and what needs no list goes on.
func TestVerify_AfterARestart_ListsFailBehindAFilter_OthersContinue(t *testing.T) {
	limited := cloudtest.Fault{
		Route: cloudtest.RouteList, Status: http.StatusTooManyRequests, Body: `{"error":"too many requests"}`, Header: http.Header{"Retry-After": {"60"}},
	}
	for name, faults := range map[string]func(release <-chan struct{}) []cloudtest.Fault{
		"it drops in silence": func(release <-chan struct{}) []cloudtest.Fault {
			f := refusesAgents(0)
			f.Block = release
			return []cloudtest.Fault{f}
		},
		"the API limits lists": func(<-chan struct{}) []cloudtest.Fault { return []cloudtest.Fault{refusesAgents(403), limited} },
		"lists by name are slow": func(<-chan struct{}) []cloudtest.Fault {
			return []cloudtest.Fault{refusesAgents(403), {Route: cloudtest.RouteList, Latency: 7 * time.Second}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cloudtest.Settings{})
			w.options.Timeout = 15 * time.Second // As in production: longer than a check waits for a list.
			w.registerAside("there")
			w.renew()
			release := make(chan struct{})
			defer close(release)
			for _, f := range faults(release) {
				w.cloud.Inject(f)
			}
			_ = w.Verify(t.Context())
			if result := w.Result(); !result.Verified || result.ListSupported != nil && !*result.ListSupported || result.PageRefused == "" {
				t.Errorf("%+v", result)
			}
			if _, err := w.registry.Get(w.cp, "honest"); err != nil {
				t.Errorf("the Agents of another team: %v", err)
			}
		})
	}
}

// Lists fail for longer than a list may be missing. That says nothing of lists: one odd response after it must not end their use.
func TestVerify_ListsFail_ThenOneOddResponse_TheAPIStillLists(t *testing.T) {
	for name, row := range map[string]struct {
		renewed bool // Then the API may forbid lists for ten seconds.
		lasts   time.Duration
		odd     cloudtest.Fault
	}{
		"a gateway without the route": {false, 20 * time.Minute, cloudtest.Fault{Status: http.StatusNotFound, Body: "default backend - 404"}},
		"a new token, forbidden once": {true, time.Minute, cloudtest.Fault{Status: http.StatusForbidden, Body: `{"error":"permission denied"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cloudtest.Settings{})
			w.registerAside("there")
			w.configure()
			noError(t, w.Verify(t.Context()))
			if row.renewed {
				w.token = w.cloud.AddProject(projectID)
				w.cp.Status.URL, w.cp.Status.ProjectID, w.cp.Status.ListSupported = w.Endpoint().URL, projectID, new(true)
				w.configure()
			}
			repair := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusBadGateway, Body: "<html>Bad Gateway</html>"})
			for range 3 {
				if w.Verify(t.Context()) == nil {
					t.Error("the check of failing lists succeeds")
				}
				w.clock.Step(row.lasts / 3)
			}
			repair()
			row.odd.Route = cloudtest.RouteList
			w.cloud.Inject(row.odd)
			if w.Verify(t.Context()) == nil {
				t.Error("the check of a missing list succeeds")
			}
			if lists := w.Result().ListSupported; lists != nil && !*lists {
				t.Errorf("one odd response ended the use of lists: %+v", w.Result())
			}
		})
	}
}

// A gateway has no route to lists at the beginning of an outage and at its end, and responds otherwise between: that is no API without lists.
func TestVerify_TwoOddResponses_WithAnOutageBetween_TheAPIStillLists(t *testing.T) {
	for name, route := range map[string]cloudtest.Route{"lists fail": cloudtest.RouteList, "all fails": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cloudtest.Settings{})
			w.registerAside("there")
			w.configure()
			noError(t, w.Verify(t.Context()))
			missing := cloudtest.Fault{Route: cloudtest.RouteList, Status: http.StatusNotFound, Body: "default backend - 404"}
			for range 5 {
				repair := w.cloud.Inject(missing)
				_ = w.Verify(t.Context())
				repair()
				w.clock.Step(10 * time.Minute)
				repair = w.cloud.Inject(cloudtest.Fault{Route: route, Status: http.StatusBadGateway, Body: "<html>Bad Gateway</html>"})
				_ = w.Verify(t.Context())
				repair()
				w.clock.Step(10 * time.Minute)
				if lists := w.Result().ListSupported; lists != nil && !*lists {
					t.Fatalf("odd responses ended the use of lists: %+v", w.Result())
				}
			}
		})
	}
}
