/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

type tripper func(*http.Request) (*http.Response, error)

func (a tripper) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func TestCallsAreCountedByRouteAndCode(t *testing.T) {
	registry := prometheus.NewRegistry()
	projects, err := NewProjects(registry)
	if err != nil {
		t.Fatal(err)
	}
	transport := projects.Of("default/calyptia").Wrap(tripper(func(r *http.Request) (*http.Response, error) {
		switch r.Method {
		case http.MethodDelete:
			return nil, errors.New("connection refused")
		case http.MethodPatch:
			return &http.Response{StatusCode: 777, Body: http.NoBody}, nil
		}
		return &http.Response{StatusCode: http.StatusCreated, Body: http.NoBody}, nil
	}))
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodPost, "https://cloud.example.com/v1/agents", nil),
		httptest.NewRequest(http.MethodPost, "https://cloud.example.com/prefix/v1/agents", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/agents/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/projects/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11/agents?last=1", nil),
		httptest.NewRequest(http.MethodDelete, "https://cloud.example.com/v1/agents/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", nil),
		httptest.NewRequest(http.MethodPatch, "https://cloud.example.com/v1/agents/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/projects/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11/fleets", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/projects/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11/environments", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/v1/projects/5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11/else", nil),
		httptest.NewRequest(http.MethodGet, "https://cloud.example.com/elsewhere", nil),
	} {
		response, err := transport.RoundTrip(r)
		if (err != nil) != (r.Method == http.MethodDelete) {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		if err == nil {
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	want := `
# HELP calyptia_cloud_requests_total Requests to Calyptia Cloud by CloudProject, method, route and status code; code may be error (no response) or other.
# TYPE calyptia_cloud_requests_total counter
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="GET",route="/v1/agents/{agentID}"} 1
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="GET",route="/v1/projects/{projectID}/agents"} 1
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="GET",route="/v1/projects/{projectID}/environments"} 1
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="GET",route="/v1/projects/{projectID}/fleets"} 1
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="GET",route="other"} 2
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="201",method="POST",route="/v1/agents"} 2
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="error",method="DELETE",route="/v1/agents/{agentID}"} 1
calyptia_cloud_requests_total{cloudproject="default/calyptia",code="other",method="PATCH",route="/v1/agents/{agentID}"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "calyptia_cloud_requests_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(projects.calls.duration); n != 8 {
		t.Errorf("%d series of durations, want 8", n)
	}
	if _, err := NewProjects(registry); err == nil {
		t.Error("the same metrics were registered twice")
	}
}
