/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Server is the fake API. All methods may be called at any time.
type Server struct {
	mu       sync.Mutex
	settings Settings
	store    store
	faults   []*injected
	requests []*Request
	detached sync.WaitGroup
}

// New returns a server without projects.
func New(settings Settings) *Server {
	return &Server{settings: settings, store: newStore()}
}

// Start serves on a port of the loopback. The caller closes it.
func (s *Server) Start() *httptest.Server { return httptest.NewServer(s) }

// Configure changes the settings of the running server.
func (s *Server) Configure(change func(*Settings)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.settings)
}

// AddProject creates the project if it is new, and returns a new token for it.
func (s *Server) AddProject(projectID string) cloud.Token {
	token := projectToken(projectID)
	s.AddToken(projectID, token)
	return cloud.NewToken(token)
}

// AddToken accepts a token of any form for a project, which is created if it is new.
func (s *Server) AddToken(projectID, token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.store.tokens[token] = s.store.project(projectID, s.settings.now())
}

// RevokeToken makes a project token invalid.
func (s *Server) RevokeToken(token cloud.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.store.tokens, token.Reveal())
}

// Agents returns a project's agents with their real tokens, oldest first.
func (s *Server) Agents(projectID string) []cloud.Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.store.projects[cloud.NormalID(projectID)]
	if !ok {
		return nil
	}
	agents := make([]cloud.Agent, 0, len(p.order))
	for _, r := range p.order {
		agents = append(agents, r.clone())
	}
	return agents
}

// Agent returns an agent with its real token.
func (s *Server) Agent(id string) (cloud.Agent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.store.agents[cloud.NormalID(id)]
	if !ok {
		return cloud.Agent{}, false
	}
	return r.clone(), true
}

// Mutate changes an agent as an external change would; an unknown ID is ignored. UpdatedAt is set to now, unless f sets it.
func (s *Server) Mutate(id string, f func(*cloud.Agent)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.store.agents[cloud.NormalID(id)]; ok {
		r.agent.UpdatedAt = s.settings.now()
		s.store.change(r, f)
	}
}

// Remove deletes an agent as an external deletion would.
func (s *Server) Remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.store.agents[cloud.NormalID(id)]; ok {
		s.store.remove(r)
	}
}

// Wait waits for the requests that DetachedDelay delays.
func (s *Server) Wait() { s.detached.Wait() }

// Request is a recorded request.
type Request struct {
	Time   time.Time
	Method string
	Path   string
	Query  string // as it was sent
	Route  Route
	// AgentID is that of the path, or of the agent that a registration created.
	AgentID string
	Header  http.Header
	Body    []byte
	// Status that was sent; 0 if none was sent.
	Status int
	// Scheme of the credential, empty without one.
	Scheme cloud.Scheme
}

// Requests returns the requests in order of arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, 0, len(s.requests))
	for _, r := range s.requests {
		requests = append(requests, *r)
	}
	return requests
}

// Count counts the requests with a method and a route; "" matches any.
func (s *Server) Count(method string, route Route) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, r := range s.requests {
		if (method == "" || r.Method == method) && (route == "" || r.Route == route) {
			count++
		}
	}
	return count
}

// ResetRequests drops the recorded requests.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}

// Inject adds a fault. Only the first fault that matches a request applies. Removing it twice is harmless.
func (s *Server) Inject(f Fault) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &injected{Fault: f}
	s.faults = append(s.faults, in)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.faults = slices.DeleteFunc(s.faults, func(other *injected) bool { return other == in })
	}
}
