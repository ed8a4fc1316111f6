/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const maxRequestBody = 8 << 20

// Route names a path of the API.
type Route string

const (
	// RouteAgents is /v1/agents.
	RouteAgents Route = "agents"
	// RouteAgent is /v1/agents/{agentID}.
	RouteAgent Route = "agent"
	// RouteMetrics is /v1/agents/{agentID}/metrics.
	RouteMetrics Route = "metrics"
	// RouteList is /v1/projects/{projectID}/agents.
	RouteList Route = "list"
	// RouteEnvironments is /v1/projects/{projectID}/environments.
	RouteEnvironments Route = "environments"
	// RouteFleets is /v1/projects/{projectID}/fleets.
	RouteFleets Route = "fleets"
	// RouteUnknown is any other path.
	RouteUnknown Route = "unknown"
)

// incoming is a request on its way to a handler.
type incoming struct {
	method string
	route  Route
	id     string // of the agent or the project in the path
	query  url.Values
	scheme cloud.Scheme
	token  string
	body   []byte
	record *Request
}

// response is the response of a handler.
type response struct {
	status int
	header http.Header
	body   []byte
}

// ServeHTTP records a request, applies its fault, and handles it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequestBody))
	rewind := func() { r.Body = io.NopCloser(bytes.NewReader(body)) }
	c := &incoming{method: r.Method, query: r.URL.Query(), body: body}
	c.route, c.id = routeOf(r.URL.EscapedPath())
	c.id = cloud.NormalID(c.id)
	c.scheme, c.token = credentialOf(r.Header)
	c.record = &Request{
		Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Route: c.route,
		Header: r.Header.Clone(), Body: body, Scheme: c.scheme,
	}
	if c.route == RouteAgent || c.route == RouteMetrics {
		c.record.AgentID = c.id
	}
	s.mu.Lock()
	c.record.Time = s.settings.now()
	s.requests = append(s.requests, c.record)
	fault := s.fault(r, c.route, rewind)
	s.mu.Unlock()
	if err != nil {
		s.responded(c.record, http.StatusRequestEntityTooLarge)
		refuse(http.StatusRequestEntityTooLarge, "request body too large").write(w)
		return
	}
	if fault != nil {
		s.run(w, r, c, fault)
		return
	}
	a := s.handle(c)
	s.responded(c.record, a.status)
	a.write(w)
}

func (s *Server) responded(record *Request, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	record.Status = status
}

// handle handles a request, completely or not at all.
func (s *Server) handle(c *incoming) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.route == RouteList && s.settings.NoList ||
		s.settings.NoNames && (c.route == RouteFleets || c.route == RouteEnvironments) {
		return notFound()
	}
	handlers := map[Route]map[string]func(*incoming, caller) response{
		RouteAgents: {http.MethodPost: s.register},
		RouteAgent: {
			http.MethodGet: s.read, http.MethodPatch: s.update, http.MethodDelete: s.delete,
		},
		RouteMetrics:      {http.MethodPost: s.addMetrics},
		RouteList:         {http.MethodGet: s.list},
		RouteEnvironments: {http.MethodGet: s.named},
		RouteFleets:       {http.MethodGet: s.named},
	}
	methods, known := handlers[c.route]
	if !known {
		return notFound()
	}
	handler, known := methods[c.method]
	if !known {
		return plain(http.StatusMethodNotAllowed, "Method Not Allowed\n")
	}
	who, refusal := s.authenticate(c)
	if refusal != nil {
		return *refusal
	}
	return handler(c, who)
}

// caller is the identity behind a request: a project token, or an agent with its own token.
type caller struct {
	project *project
	agent   *record // nil for a project token
}

func (s *Server) authenticate(c *incoming) (caller, *response) {
	if c.token == "" {
		return caller{}, new(refuse(http.StatusUnauthorized, "unauthenticated"))
	}
	if c.scheme == cloud.SchemeAgentToken {
		if r, ok := s.store.byToken[c.token]; ok {
			return caller{project: r.project, agent: r}, nil
		}
	} else if p, ok := s.store.tokens[c.token]; ok && s.settings.accepts(c.scheme) {
		return caller{project: p}, nil
	}
	return caller{}, new(refuse(http.StatusUnauthorized, "invalid token"))
}

// credentialOf returns the first credential of a request.
func credentialOf(header http.Header) (cloud.Scheme, string) {
	if value := header.Get("Authorization"); value != "" {
		kind, token, _ := strings.Cut(value, " ")
		if strings.EqualFold(kind, "Bearer") {
			return cloud.SchemeBearer, strings.TrimSpace(token)
		}
	}
	if token := header.Get("X-Project-Token"); token != "" {
		return cloud.SchemeProjectToken, token
	}
	if token := header.Get("X-Agent-Token"); token != "" {
		return cloud.SchemeAgentToken, token
	}
	return "", ""
}

func routeOf(escaped string) (Route, string) {
	segments := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	for i, segment := range segments {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "" {
			return RouteUnknown, ""
		}
		segments[i] = plain
	}
	switch {
	case len(segments) < 2 || segments[0] != "v1":
	case segments[1] == "agents" && len(segments) == 2:
		return RouteAgents, ""
	case segments[1] == "agents" && len(segments) == 3:
		return RouteAgent, segments[2]
	case segments[1] == "agents" && len(segments) == 4 && segments[3] == "metrics":
		return RouteMetrics, segments[2]
	case segments[1] == "projects" && len(segments) == 4 && segments[3] == "agents":
		return RouteList, segments[2]
	case segments[1] == "projects" && len(segments) == 4 && segments[3] == "environments":
		return RouteEnvironments, segments[2]
	case segments[1] == "projects" && len(segments) == 4 && segments[3] == "fleets":
		return RouteFleets, segments[2]
	}
	return RouteUnknown, ""
}

func (a response) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

func reply(status int, body any) response {
	encoded, err := json.Marshal(body)
	if err != nil {
		return plain(http.StatusInternalServerError, err.Error())
	}
	return response{status: status, header: http.Header{"Content-Type": {"application/json"}}, body: encoded}
}

func refuse(status int, message string) response {
	return reply(status, map[string]string{"error": message})
}

func plain(status int, text string) response {
	return response{
		status: status,
		header: http.Header{
			"Content-Type":           {"text/plain; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
		},
		body: []byte(text),
	}
}

// notFound is the response of Go's own mux to an unknown route.
func notFound() response { return plain(http.StatusNotFound, "404 page not found\n") }
