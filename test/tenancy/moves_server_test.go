/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
)

// moodyServer is the thief's own server. It shows a picture of one agent to everybody, and draws for each request whether to do something
// else.
type moodyServer struct {
	*httptest.Server

	mu       sync.Mutex
	seed     uint64
	requests map[string]uint64 // number of requests of a kind, for the next draw
	picture  picture
	promised map[string]string // machine IDs of agents that it registered
	deleted  map[string]bool
	honest   bool // it has no agents, and says so
	// forbidden must not reach it: what it is, by its text.
	forbidden map[string]string
	caught    []string
}

// picture is what the server shows.
type picture struct {
	id        string // of what it registers; empty for a new one
	machineID string // of any other agent that it is asked for
	token     string
	lists     bool
	// moods: once in so many requests it does something else. 0: never.
	moods int
}

func newMoodyServer(t testing.TB, seed uint64) *moodyServer {
	t.Helper()
	s := &moodyServer{seed: seed, requests: map[string]uint64{}, promised: map[string]string{}, deleted: map[string]bool{},
		forbidden: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// show changes the picture.
func (s *moodyServer) show(p picture) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.picture, s.deleted = p, map[string]bool{}
}

// empty has it forget all agents and say so.
func (s *moodyServer) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.honest = true
}

// forbid adds a text that must not reach the server.
func (s *moodyServer) forbid(text, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forbidden[text] = what
}

// heard are the forbidden texts that reached it.
func (s *moodyServer) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.caught
}

func (s *moodyServer) serve(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var sent struct{ Name, MachineID string }
	_ = json.Unmarshal(body, &sent)
	s.mu.Lock()
	defer s.mu.Unlock()
	all := fmt.Sprint(r.Header, r.URL, string(body))
	for text, what := range s.forbidden {
		if strings.Contains(all, text) {
			s.caught = append(s.caught, fmt.Sprintf("%s %s holds %s", r.Method, r.URL.Path, what))
		}
	}
	kind := r.Method + strings.TrimRight(r.URL.Path, "0123456789abcdef-")
	s.requests[kind]++
	d := draws{rand.New(rand.NewPCG(s.seed, serverStream<<32+s.requests[kind]<<8+uint64(len(kind))))}
	rw.Header().Set("Content-Type", "application/json")
	last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case last == uuid.Nil.String():
		respond(rw, http.StatusNotFound, failure("agent not found"))
	case s.honest:
		s.says(rw, r)
	case s.picture.moods > 0 && d.oneOf(s.picture.moods):
		s.moody(rw, d, last)
	case r.Method == http.MethodPost:
		id := s.picture.id
		if id == "" {
			id = uuid.NewString()
		}
		s.promised[id] = sent.MachineID
		respond(rw, http.StatusCreated, map[string]any{
			"id": id, "token": s.token(), "name": sent.Name, "createdAt": time.Now().UTC(), "environmentName": "default",
		})
	case strings.Contains(r.URL.Path, "/projects/"):
		s.list(rw, r)
	case s.deleted[last]:
		respond(rw, http.StatusNotFound, failure("agent not found"))
	case r.Method == http.MethodGet:
		respond(rw, http.StatusOK, s.agent(last))
	default:
		s.deleted[last] = r.Method == http.MethodDelete
		rw.WriteHeader(http.StatusNoContent)
	}
}

// says is what a server without agents responds.
func (s *moodyServer) says(rw http.ResponseWriter, r *http.Request) {
	switch {
	case strings.Contains(r.URL.Path, "/projects/") && s.picture.lists:
		respond(rw, http.StatusOK, []any{})
	case strings.Contains(r.URL.Path, "/projects/"):
		http.NotFound(rw, r)
	case r.Method == http.MethodPost:
		respond(rw, http.StatusForbidden, failure("permission denied"))
	default:
		respond(rw, http.StatusNotFound, failure("agent not found"))
	}
}

// moody responds in another way than the picture.
func (s *moodyServer) moody(rw http.ResponseWriter, d draws, id string) {
	switch d.IntN(9) {
	case 0:
		respond(rw, http.StatusNotFound, failure("agent not found"))
	case 1:
		respond(rw, http.StatusNotFound, failure("not found"))
	case 2:
		respond(rw, http.StatusGone, failure("agent gone"))
	case 3:
		panic(http.ErrAbortHandler) // The response is lost.
	case 4:
		respond(rw, http.StatusInternalServerError, failure("try again"))
	case 5:
		respond(rw, http.StatusConflict, failure("machine ID conflict"))
	case 6:
		rw.Header().Set("Date", time.Now().Add(time.Duration(d.IntN(400)-200)*time.Second).UTC().Format(http.TimeFormat))
		respond(rw, http.StatusOK, s.agent(id))
	case 7:
		rw.Header().Set("Content-Type", "text/html")
		respond(rw, http.StatusForbidden, "<html>blocked</html>")
	default:
		respond(rw, http.StatusOK, []any{s.agent(s.picture.id)})
	}
}

func (s *moodyServer) list(rw http.ResponseWriter, r *http.Request) {
	if !s.picture.lists {
		http.NotFound(rw, r)
		return
	}
	all := []any{}
	for id := range s.promised {
		all = append(all, s.agent(id))
	}
	if s.picture.id != "" && s.promised[s.picture.id] == "" {
		all = append(all, s.agent(s.picture.id))
	}
	respond(rw, http.StatusOK, all)
}

func (s *moodyServer) token() string {
	if s.picture.token == "" {
		return "invented-token-" + uuid.NewString()
	}
	return s.picture.token
}

// agent shows an agent with any ID.
func (s *moodyServer) agent(id string) map[string]any {
	machineID := s.promised[id]
	if machineID == "" {
		machineID = s.picture.machineID
	}
	now := time.Now().UTC()
	return map[string]any{
		"id": id, "fleetID": nil, "token": s.token(), "name": "x", "machineID": machineID, "type": "fluentbit", "version": "v4.0.0",
		"edition": "community", "status": "healthy", "os": "linux", "arch": "x86_64", "flags": nil, "rawConfig": "x", "metadata": nil,
		"firstMetricsAddedAt": nil, "lastMetricsAddedAt": nil, "metricsCount": 0, "createdAt": now, "updatedAt": now,
		"environmentName": "default",
	}
}

func failure(text string) map[string]string { return map[string]string{"error": text} }

func respond(rw http.ResponseWriter, status int, body any) {
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(body)
}
