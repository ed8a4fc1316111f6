/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestWhatKeepsCallsWaitingIsCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	projects, err := NewProjects(registry)
	if err != nil {
		t.Fatal(err)
	}
	p := projects.Of("logs/main")
	p.Throttled()
	p.Waits(1500 * time.Millisecond)
	p.Waits(time.Second)
	p.Breaker(BreakerOpen)
	p.Listed(time.Unix(1_800_000_000, 0), 7)
	p.NotListed()
	want := strings.NewReplacer("HELP", "# HELP", "TYPE", "# TYPE").Replace(`
HELP calyptia_cloudproject_breaker_state 1 for the state of the circuit breaker: closed, half-open or open. No request is made while it is open.
TYPE calyptia_cloudproject_breaker_state gauge
calyptia_cloudproject_breaker_state{cloudproject="logs/main",state="closed"} 0
calyptia_cloudproject_breaker_state{cloudproject="logs/main",state="half-open"} 0
calyptia_cloudproject_breaker_state{cloudproject="logs/main",state="open"} 1
HELP calyptia_cloudproject_list_snapshot_agents Remote agents in the snapshot in use when it was read.
TYPE calyptia_cloudproject_list_snapshot_agents gauge
calyptia_cloudproject_list_snapshot_agents{cloudproject="logs/main"} 7
HELP calyptia_cloudproject_list_snapshot_timestamp_seconds When the snapshot in use of all remote agents was begun, in seconds since 1970.
TYPE calyptia_cloudproject_list_snapshot_timestamp_seconds gauge
calyptia_cloudproject_list_snapshot_timestamp_seconds{cloudproject="logs/main"} 1.8e+09
HELP calyptia_cloudproject_list_snapshots_total Snapshots of all remote agents that were read, by outcome (complete or failed).
TYPE calyptia_cloudproject_list_snapshots_total counter
calyptia_cloudproject_list_snapshots_total{cloudproject="logs/main",outcome="complete"} 1
calyptia_cloudproject_list_snapshots_total{cloudproject="logs/main",outcome="failed"} 1
HELP calyptia_cloudproject_throttled_total How often Calyptia Cloud asked to wait (429, or Retry-After), so that no request was made for a time.
TYPE calyptia_cloudproject_throttled_total counter
calyptia_cloudproject_throttled_total{cloudproject="logs/main"} 1
HELP calyptia_cloudproject_rate_limit_wait_seconds_total How long requests waited for the rate limit of the CloudProject, in seconds.
TYPE calyptia_cloudproject_rate_limit_wait_seconds_total counter
calyptia_cloudproject_rate_limit_wait_seconds_total{cloudproject="logs/main"} 2.5
HELP calyptia_cloudproject_rate_limit_waits_total Requests that had to wait for the rate limit of the CloudProject.
TYPE calyptia_cloudproject_rate_limit_waits_total counter
calyptia_cloudproject_rate_limit_waits_total{cloudproject="logs/main"} 2
`)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestACloudProjectThatWasDeletedLeavesNoSeries(t *testing.T) {
	registry := prometheus.NewRegistry()
	projects, err := NewProjects(registry)
	if err != nil {
		t.Fatal(err)
	}
	gone, stays := projects.Of("logs/gone"), projects.Of("logs/stays")
	transport := gone.Wrap(tripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
	}))
	call := func() {
		response, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/agents", nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
	call()
	gone.Listed(time.Now(), 1)
	gone.Forget()
	call() // What was under way comes late.
	gone.Throttled()
	stays.Throttled()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for _, family := range families {
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				switch label.GetValue() {
				case "logs/gone":
					t.Errorf("%s still reports it", family.GetName())
				case "logs/stays":
					kept++
				}
			}
		}
	}
	if kept == 0 {
		t.Error("the other CloudProject's series are gone, too")
	}
}

func TestNilMetricsCountNothing(t *testing.T) {
	var none *Projects
	p := none.Of("logs/main")
	p.Throttled()
	p.Forget()
	if p.all != nil {
		t.Error("there are metrics after all")
	}
}

func TestTheBuildIsReported(t *testing.T) {
	registry := prometheus.NewRegistry()
	if err := RegisterBuild(registry); err != nil {
		t.Fatal(err)
	}
	if n, err := testutil.GatherAndCount(registry, "calyptia_agent_operator_build_info"); n != 1 || err != nil {
		t.Errorf("%d series, error %v", n, err)
	}
}
