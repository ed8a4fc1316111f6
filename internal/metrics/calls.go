/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package metrics has the Prometheus metrics. Requests to the API are counted in the transport, so that no caller
// has to.
package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// calls are the metrics of the requests to the API.
type calls struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

func newCalls() calls {
	labels := []string{cloudProject, "method", "route", "code"}
	return calls{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "calyptia_cloud_requests_total",
			Help: "Requests to Calyptia Cloud by CloudProject, method, route and status code; code may be error (no response) or other.",
		}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "calyptia_cloud_request_duration_seconds",
			Help:    "Time from a request to Calyptia Cloud until the head of its response, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 13),
		}, labels[:3]),
	}
}

// Wrap instruments the transport of the CloudProject.
func (p *Project) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		began := time.Now()
		response, err := next.RoundTrip(r)
		took, name, status := time.Since(began).Seconds(), route(r.URL.Path), code(response, err)
		p.record(func(m *Projects) {
			m.calls.requests.WithLabelValues(p.name, r.Method, name, status).Inc()
			m.calls.duration.WithLabelValues(p.name, r.Method, name).Observe(took)
		})
		return response, err
	})
}

// code returns the status code. A server may send any number; unknown ones share one label.
func code(response *http.Response, err error) string {
	switch {
	case err != nil:
		return "error"
	case http.StatusText(response.StatusCode) == "":
		return "other"
	default:
		return strconv.Itoa(response.StatusCode)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// lists are what a project has lists of.
var lists = []string{"agents", "fleets", "environments"}

// route returns the path without IDs and without the prefix of the installation, to bound the number of labels.
func route(path string) string {
	_, path, _ = strings.Cut(path, "/v1/")
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 1 && parts[0] == "agents":
		return "/v1/agents"
	case len(parts) == 2 && parts[0] == "agents":
		return "/v1/agents/{agentID}"
	case len(parts) == 3 && parts[0] == "projects" && slices.Contains(lists, parts[2]):
		return "/v1/projects/{projectID}/" + parts[2]
	default:
		return "other"
	}
}
