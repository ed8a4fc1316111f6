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

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// metric is the value of the one series with these label values; -1 if there is none.
func (w *world) metric(name string, labels ...string) float64 {
	w.Helper()
	families, err := w.metrics.Gather()
	noError(w, err)
	for _, family := range families {
		for _, metric := range family.Metric {
			var values []string
			for _, label := range metric.Label {
				values = append(values, label.GetValue())
			}
			if family.GetName() == name && strings.Join(values, " ") == strings.Join(append([]string{"default/main"}, labels...), " ") {
				return metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			}
		}
	}
	return -1
}

func (w *world) measures(want float64, name string, labels ...string) {
	w.Helper()
	if got := w.metric(name, labels...); got != want {
		w.Errorf("%s %v is %v, want %v", name, labels, got, want)
	}
}

func TestMetricsCountAWaitOnceForEachReservation(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.limit(1, 1)
	w.measures(0, "calyptia_cloudproject_rate_limit_waits_total")
	w.expectWait("a", 0)
	w.expectWait("b", time.Second)
	w.expectWait("c", 2*time.Second)
	w.expectWait("b", time.Second) // Asking again is no new wait.
	w.clock.Step(time.Second)
	w.expectWait("b", 0)
	w.measures(2, "calyptia_cloudproject_rate_limit_waits_total")
	w.measures(3, "calyptia_cloudproject_rate_limit_wait_seconds_total")
}

func TestMetricsReportTheBreakerAndThrottles(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	const state = "calyptia_cloudproject_breaker_state"
	w.measures(1, state, "closed")
	repair := w.cloud.Inject(cloudtest.Fault{Status: http.StatusBadGateway, Body: "<html>"})
	for range 5 {
		_, _ = w.Get(t.Context(), somebody, otherID)
	}
	w.measures(1, state, "open")
	w.measures(0, state, "closed")
	repair()
	w.eventually("a probe to be let through", func() bool { _, err := w.registry.Get(w.cp, somebody.Namespace); return err == nil })
	w.measures(1, state, "half-open")
	_, _ = w.Get(t.Context(), somebody, otherID)
	w.measures(1, state, "closed")
	w.measures(0, state, "open")

	w.measures(0, "calyptia_cloudproject_throttled_total")
	w.cloud.Inject(cloudtest.Fault{Status: http.StatusTooManyRequests, Body: `{"error":"too many"}`, Times: 1})
	_, _ = w.Get(t.Context(), somebody, otherID)
	w.measures(1, "calyptia_cloudproject_throttled_total")
}

func TestMetricsReportTheCallsOfTheirProject(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.register("machine-1")
	w.measures(1, "calyptia_cloud_requests_total", "201", "POST", "/v1/agents")
}

func TestMetricsReportListSnapshots(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.register("machine-1")
	_, listed, err := w.FindByMachine(t.Context(), "machine-1", time.Time{})
	noError(t, err)
	if !listed {
		t.Fatal("the API lists nothing")
	}
	w.measures(1, "calyptia_cloudproject_list_snapshots_total", "complete")
	w.measures(0, "calyptia_cloudproject_list_snapshots_total", "failed")
	w.measures(1, "calyptia_cloudproject_list_snapshot_agents")
	w.measures(float64(w.clock.Now().Unix()), "calyptia_cloudproject_list_snapshot_timestamp_seconds")

	w.clock.Step(time.Second)
	w.cloud.Inject(cloudtest.Fault{Status: http.StatusBadGateway, Body: "<html>", Times: 1})
	if _, _, err := w.FindByMachine(t.Context(), "machine-1", w.clock.Now()); err == nil {
		t.Fatal("the list did not fail")
	}
	w.measures(1, "calyptia_cloudproject_list_snapshots_total", "failed")

	w.registry.Forget(w.cp.UID)
	w.measures(-1, "calyptia_cloudproject_list_snapshots_total", "complete")
	w.measures(-1, "calyptia_cloudproject_breaker_state", "closed")
}
