/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// cloudCommand is the subcommand that serves the fake cloud, in its own process so that its processor time is not
// counted as the benchmark's.
const cloudCommand = "cloud"

// The projects of the fake cloud: the operator and the floor do not see each other's agents.
const (
	operatorProject = "0c1d7a52-6f0e-4c56-9d0b-3a4be8a3f7d1"
	floorProject    = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
)

// greeting is the first output of the fake cloud, on a pipe to its parent because it holds tokens.
type greeting struct {
	Service, Control string
	Tokens           map[string]string // by project
}

// cloudState configures the behavior of the fake cloud.
type cloudState struct {
	Latency time.Duration
	NoList  bool
}

// call is a request that the fake cloud received.
type call struct {
	At      time.Time
	Method  string
	Route   cloudtest.Route
	Query   string
	AgentID string
	Status  int
}

// calls are the requests since the last reset.
type calls struct {
	Connections int64
	Calls       []call
}

type cloudProcess struct {
	fake        *cloudtest.Server
	connections atomic.Int64

	mu     sync.Mutex
	prompt func() // turns the latency off
}

// serveCloud serves the fake cloud, and a second port to control it, until the process is killed.
func serveCloud(out io.Writer) error {
	c := &cloudProcess{fake: cloudtest.New(cloudtest.Settings{}), prompt: func() {}}
	service, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	hello := greeting{
		Service: "http://" + service.Addr().String(), Control: "http://" + control.Addr().String(),
		Tokens: map[string]string{},
	}
	for _, project := range []string{operatorProject, floorProject} {
		token := c.fake.AddProject(project)
		hello.Tokens[project] = token.Reveal()
	}
	c.fake.AddNamed(operatorProject, cloud.Fleets, fleetName)
	if err := json.NewEncoder(out).Encode(hello); err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- http.Serve(control, c.control()) }()
	go func() {
		server := &http.Server{Handler: c.fake, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				c.connections.Add(1)
			}
		}}
		failed <- server.Serve(service)
	}()
	return <-failed
}

func (c *cloudProcess) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /calls", func(w http.ResponseWriter, _ *http.Request) {
		got := calls{Connections: c.connections.Load(), Calls: []call{}}
		for _, r := range c.fake.Requests() {
			got.Calls = append(got.Calls, call{r.Time, r.Method, r.Route, r.Query, r.AgentID, r.Status})
		}
		_ = json.NewEncoder(w).Encode(got)
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) {
		c.fake.ResetRequests()
		c.connections.Store(0)
	})
	mux.HandleFunc("POST /state", func(w http.ResponseWriter, r *http.Request) {
		var state cloudState
		if err := json.NewDecoder(r.Body).Decode(&state); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.set(state)
	})
	mux.HandleFunc("POST /drift/{project}", func(_ http.ResponseWriter, r *http.Request) {
		for _, agent := range c.fake.Agents(r.PathValue("project")) {
			c.fake.Mutate(agent.ID, func(a *cloud.Agent) { a.RawConfig = "# what somebody else made of it\n" })
		}
	})
	return mux
}

func (c *cloudProcess) set(state cloudState) {
	c.fake.Configure(func(s *cloudtest.Settings) { s.NoList = state.NoList })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.prompt()
	c.prompt = func() {}
	if state.Latency > 0 {
		c.prompt = c.fake.Inject(cloudtest.Fault{Latency: state.Latency})
	}
}

var errCloudSilent = errors.New("the fake cloud exited before it printed its address")
