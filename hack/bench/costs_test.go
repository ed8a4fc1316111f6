/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// Limits of the requests and writes for each Agent. Counts are exact on any machine.
const (
	registerCalls  = 1
	registerWrites = 3 // intent with finalizer, Secret, status
	updateCalls    = 2 // a GET and a PATCH
	updateWrites   = 1
	deleteCalls    = 2 // a DELETE, and the GET that confirms it
	deleteWrites   = 1 // the finalizer; the Secret goes with its owner
	mostEvents     = 1 // of each of these
	mostReads      = 1 // an Agent that is registered; the cache has it otherwise

	// In a steady state, where Calyptia Cloud lists its agents: pages for each interval, and no read of a single one.
	pageSize    = 100
	steadyReads = 0
)

// costsAgents is small enough for a test of one minute on a small machine.
const costsAgents = 50

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == cloudCommand {
		fmt.Fprintln(os.Stderr, serveCloud(os.Stdout))
		os.Exit(1)
	}
	ctrllog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// TestCosts runs a small benchmark and checks the counts of an Agent, not times.
func TestCosts(t *testing.T) {
	results := map[string]*result{}
	for _, r := range runSmall(t, "-fleet", "-phases=register,update,single,delete", fmt.Sprintf("-singles=%d", costsAgents)) {
		results[r.Phase] = r
	}
	for _, want := range []struct {
		phase         string
		calls, writes int
		each          map[string]int
		fleetLists    int // for all Agents, which name one fleet
	}{
		{"register", registerCalls, registerWrites, map[string]int{http.MethodPost: 1}, 1},
		{"update", updateCalls, updateWrites, map[string]int{http.MethodPatch: 1}, 0},
		{"single", registerCalls, registerWrites, map[string]int{http.MethodPost: 1}, 0},
		{"delete", deleteCalls, deleteWrites, map[string]int{http.MethodDelete: 1}, 0},
	} {
		t.Run(want.phase, func(t *testing.T) {
			r := results[want.phase]
			t.Log(r.details())
			t.Logf("%d events, %d conflicts, %d refused writes", r.Events, r.Conflicts, r.Refused)
			calls := r.Calls[http.MethodGet] + r.Calls[http.MethodPost] + r.Calls[http.MethodPatch] + r.Calls[http.MethodDelete]
			switch {
			case want.phase == "update" && calls > want.calls*costsAgents: // The GET before the PATCH may be omitted.
				t.Errorf("%d calls for %d Agents, want at most %d each", calls, costsAgents, want.calls)
			case want.phase != "update" && calls != want.calls*costsAgents:
				t.Errorf("%d calls for %d Agents, want %d each", calls, costsAgents, want.calls)
			}
			for method, n := range want.each {
				if r.Calls[method] != n*costsAgents {
					t.Errorf("%d calls with %s for %d Agents, want %d each", r.Calls[method], method, costsAgents, n)
				}
			}
			if got := r.Calls["fleets"]; got != want.fleetLists {
				t.Errorf("fleets were listed %d times for %d Agents, want %d", got, costsAgents, want.fleetLists)
			}
			if r.Objects != want.writes*costsAgents {
				t.Errorf("%d writes for %d Agents, want %d each: %v", r.Objects, costsAgents, want.writes, r.Writes)
			}
			if n := r.Reads["get agents"]; n > mostReads*costsAgents {
				t.Errorf("%d Agents were read from the API server itself, want at most %d each", n, mostReads)
			}
			for about, n := range r.EventsOf {
				if n > mostEvents {
					t.Errorf("%d events about %s, want at most %d", n, about, mostEvents)
				}
			}
			// Events are written at a bounded rate: that of the CloudProject and those of a cleanup may come in the next phase.
			maps.DeleteFunc(r.EventsOf, func(about string, _ int) bool {
				return about == projectName || want.phase == "delete" && strings.HasPrefix(about, "single-")
			})
			if len(r.EventsOf) > costsAgents {
				t.Errorf("events about %d objects, want them about %d Agents alone", len(r.EventsOf), costsAgents)
			}
			if r.Refused > 0 {
				t.Errorf("the API server refused %d writes for another reason than a conflict", r.Refused)
			}
		})
	}
}

// TestSteadyCosts measures a little more than an interval in which nothing changes.
func TestSteadyCosts(t *testing.T) {
	const stretch = 70 * time.Second
	// The update reads each agent: what a registration does not return, such as its health, is written then, once.
	results := runSmall(t, "-phases=register,update,steady", "-stretch="+stretch.String())
	r := results[len(results)-1]
	t.Log(r.details())
	if r.Objects+r.Conflicts+r.Refused+r.Events > 0 {
		t.Errorf("nothing changed, but there were %d writes (%v), %d events and %d conflicts", r.Objects, r.Writes, r.Events, r.Conflicts)
	}
	// Intervals vary by a tenth, so that the stretch touches one or two of them.
	pages := (costsAgents + pageSize - 1) / pageSize
	if r.Pages < pages || r.Pages > 2*pages {
		t.Errorf("%d pages were listed within %s, want %d for each interval of %s", r.Pages, stretch, pages, time.Minute)
	}
	if gets := r.Calls[http.MethodGet]; gets != steadyReads {
		t.Errorf("%d agents were read one by one although Calyptia Cloud lists them, want %d", gets, steadyReads)
	}
}

// runSmall runs the phases with a few Agents, against a binary that is built for it.
func runSmall(t *testing.T, args ...string) []*result {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "calyptia-agent-operator")
	if err := testenv.BuildOperator(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	o, err := parse(append(args, "-operator="+binary), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	results, err := o.runCell(ctx, cell{N: costsAgents})
	if err != nil {
		t.Fatal(err)
	}
	return results
}
