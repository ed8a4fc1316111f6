/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package openapi_test checks the client of the cloud, and the fake that all other tests use, against the OpenAPI
// description of the API. It is a separate module, because nothing else needs an OpenAPI library.
package openapi_test

import (
	"bytes"
	"context"
	_ "embed"
	"io"
	"net/http"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

//go:embed openapi.yaml
var description []byte

// checked is a transport that checks every request and response against the OpenAPI description. A request that violates
// it must be refused as invalid.
type checked struct {
	t      *testing.T
	router routers.Router
	next   http.RoundTripper
}

// checking returns the Wrap of a client's configuration.
func checking(t *testing.T) func(http.RoundTripper) http.RoundTripper {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromData(description)
	if err != nil {
		t.Fatalf("the description does not load: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("the description is not valid: %v", err)
	}
	router, err := legacy.NewRouter(doc)
	if err != nil {
		t.Fatalf("the description gives no routes: %v", err)
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return &checked{t: t, router: router, next: next}
	}
}

func (c *checked) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	probe := r.Clone(r.Context())
	probe.Body = io.NopCloser(bytes.NewReader(sent))
	route, params, err := c.router.FindRoute(probe)
	if err != nil {
		c.t.Errorf("%s %s is not a described call: %v", r.Method, r.URL.Path, err)
		return c.next.RoundTrip(r)
	}
	input := &openapi3filter.RequestValidationInput{
		Request: probe, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: hasCredential, IncludeResponseStatus: true},
	}
	invalid := openapi3filter.ValidateRequest(r.Context(), input)
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(got))
	if err != nil {
		c.t.Errorf("%s %s: the response broke: %v", r.Method, r.URL.Path, err)
	}
	if invalid != nil && response.StatusCode < 400 {
		c.t.Errorf("%s %s took a request that breaks the description: %v", r.Method, r.URL.Path, invalid)
	}
	output := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header,
		Options: input.Options,
	}
	output.SetBodyBytes(got)
	if err := openapi3filter.ValidateResponse(r.Context(), output); err != nil {
		c.t.Errorf("%s %s: the response %d breaks the description: %v", r.Method, r.URL.Path, response.StatusCode, err)
	}
	return response, nil
}

// hasCredential requires the described header, not a valid token.
func hasCredential(_ context.Context, input *openapi3filter.AuthenticationInput) error {
	name := input.SecurityScheme.Name
	if input.SecurityScheme.Type == "http" {
		name = "Authorization"
	}
	if input.RequestValidationInput.Request.Header.Get(name) == "" {
		return input.NewError(nil)
	}
	return nil
}

func TestOtherCallsMatchTheDescription(t *testing.T) {
	s := newService(t, cloudtest.Settings{Environments: map[string]string{nilID: "staging"}})
	web := s.Start()
	defer web.Close()
	agent := s.register(t, "machine-1")
	caller := &http.Client{Transport: checking(t)(http.DefaultTransport)}
	for _, row := range []struct {
		name, method, path, header, token, content string
		status                                     int
	}{
		{"fleets", "GET", "/v1/projects/" + projectID + "/fleets?last=5", "X-Project-Token", s.token.Reveal(), "", 200},
		{"environments", "GET", "/v1/projects/" + projectID + "/environments?name=staging", "X-Project-Token", s.token.Reveal(), "", 200},
		{"environments for a bad token", "GET", "/v1/projects/" + projectID + "/environments", "X-Project-Token", "other", "", 401},
		{"metrics", "POST", "/v1/agents/" + agent.ID + "/metrics", "X-Agent-Token", agent.Token.Reveal(), "application/x-msgpack", 201},
		{"metrics for a bad token", "POST", "/v1/agents/" + agent.ID + "/metrics", "X-Agent-Token", "other", "application/x-msgpack", 401},
		{"the agent after its metrics", "GET", "/v1/agents/" + agent.ID, "X-Agent-Token", agent.Token.Reveal(), "", 200},
	} {
		t.Run(row.name, func(t *testing.T) {
			var body io.Reader
			if row.content != "" {
				body = bytes.NewReader([]byte{0x80})
			}
			r, err := http.NewRequestWithContext(t.Context(), row.method, web.URL+row.path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set(row.header, row.token)
			if row.content != "" {
				r.Header.Set("Content-Type", row.content)
			}
			response, err := caller.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if response.StatusCode != row.status {
				t.Errorf("got %d, want %d", response.StatusCode, row.status)
			}
		})
	}
}
