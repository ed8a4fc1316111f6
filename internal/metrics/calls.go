/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package metrics counts and times the calls to the service, at the transport,
// so that no caller has to.
package metrics

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Calls are the metrics of the calls to the service.
type Calls struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
}

// NewCalls makes the metrics and registers them.
func NewCalls(registerer prometheus.Registerer) (*Calls, error) {
	labels := []string{"cloudproject", "method", "route", "code"}
	c := &Calls{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "calyptia_cloud_requests_total",
			Help: "Calls to the service by CloudProject, method, route and status code; code is error where nothing answered.",
		}, labels),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "calyptia_cloud_request_duration_seconds",
			Help:    "Time from a call to the service until the head of its answer, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 13),
		}, labels[:3]),
	}
	for _, collector := range []prometheus.Collector{c.requests, c.duration} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Wrap instruments the transport of one CloudProject, named "namespace/name".
func (c *Calls) Wrap(cloudProject string) func(http.RoundTripper) http.RoundTripper {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			began := time.Now()
			response, err := next.RoundTrip(r)
			code := "error"
			if err == nil {
				code = strconv.Itoa(response.StatusCode)
			}
			name := route(r.URL.Path)
			c.requests.WithLabelValues(cloudProject, r.Method, name, code).Inc()
			c.duration.WithLabelValues(cloudProject, r.Method, name).Observe(time.Since(began).Seconds())
			return response, err
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// route is the path without IDs and without the prefix of the installation, so that labels stay few.
func route(path string) string {
	_, path, _ = strings.Cut(path, "/v1/")
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 1 && parts[0] == "agents":
		return "/v1/agents"
	case len(parts) == 2 && parts[0] == "agents":
		return "/v1/agents/{agentID}"
	case len(parts) == 3 && parts[0] == "projects" && parts[2] == "agents":
		return "/v1/projects/{projectID}/agents"
	default:
		return "other"
	}
}
