/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// workers act on Agents concurrently.
const workers = 6

// leastKills is the minimum number of kills, however slow the machine is.
const leastKills = 10

// Streams of random numbers; those of the workers follow.
const (
	killStream uint64 = iota + 1
	restartStream
	faultStream
	workerStream = 100
)

// TestExactlyOneThroughKills kills the operator again and again while Agents come, change and go, Calyptia Cloud
// fails in every way, and the API server restarts. Afterwards everything has to agree.
func TestExactlyOneThroughKills(t *testing.T) {
	t.Parallel()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano()) % 1e9
	}
	again := fmt.Sprintf("go test ./test/torture -run %s -count=1 -v -timeout 120m -seed=%d -duration=%s -agents=%d -real-times=%t",
		t.Name(), *seed, *duration, *agents, *realTimes)
	fmt.Fprintf(os.Stderr, "torture: seed %d; the same actions, faults and kills again: %s\n", *seed, again)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed %d; the same actions, faults and kills again: %s", *seed, again)
		}
	})
	logs := keptIfFailed(t)
	plane, err := testenv.Start(context.Background(), testenv.Options{Dir: filepath.Join(logs, "control-plane")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t, plane, "torture", logs)
	// Late, but within what the operator allows: its own window ends at a quarter of the slack.
	late := slack() / 2
	w.addPlace("conflict", cloudtest.Settings{PageSize: 20}, newFaults(*seed, faultStream, late))
	w.addPlace("duplicate", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, GoneAfterDelete: true},
		newFaults(*seed, faultStream+1, late))
	k := &killer{world: w, rng: rand.New(rand.NewPCG(*seed, killStream)), at: map[moment]int{}}
	began := time.Now()
	restarts, actions := w.torture(k)
	tortured := time.Since(began)
	w.deleteForgotten()
	duplicates := w.lateDuplicates(w.places[1], 10)
	took := w.recovers(k)
	w.summarize(k, restarts, actions, duplicates, tortured, took)
}

// torture is the phase with faults. Afterwards nothing fails, and no operator runs.
func (w *world) torture(k *killer) (restarts int, actions int64) {
	w.t.Helper()
	var done, removals atomic.Int64
	removals.Store(6) // Too few to trip the mass-deletion safeguard.
	var runs []func(context.Context, <-chan struct{}) error
	for n := range workers {
		runner := &worker{world: w, rng: rand.New(rand.NewPCG(*seed, workerStream+uint64(n))), actions: &done, removals: &removals}
		for number := n; number < *agents; number += workers {
			p := w.places[number/workers%2]
			runner.subjects = append(runner.subjects, newSubject(number, p, p == w.places[0]))
		}
		if len(runner.subjects) > 0 {
			runs = append(runs, runner.work)
		}
	}
	runs = append(runs, func(ctx context.Context, stop <-chan struct{}) (err error) {
		every := max(*duration/4, 12*time.Second)
		restarts, err = k.restartAPIServer(ctx, stop, rand.New(rand.NewPCG(*seed, restartStream)), every)
		return err
	})
	if err := k.chaos(*duration, leastKills, runs...); err != nil {
		w.t.Fatal(err)
	}
	for _, p := range w.places {
		p.faults.stop()
	}
	return restarts, done.Load()
}

// recovers starts the last operator and waits until everything matches.
func (w *world) recovers(k *killer) time.Duration {
	w.t.Helper()
	// What the garbage collector missed while the API server was restarted is not the operator's.
	if err := w.plane.RestartControllerManager(); err != nil {
		w.t.Fatal(err)
	}
	last := w.start("operator")
	began, poked := time.Now(), false
	took := w.agree(10*slack()+90*time.Second, func() error { // The garbage collector needs time, too.
		if err := last.exited(); err != nil {
			return fmt.Errorf("the operator exited unexpectedly (%w): see %s", err, last.log)
		}
		// Once, for all: external changes are found now and not at the next resync. A second time would hide an Agent that
		// waits for longer than it should.
		if !poked && time.Since(began) > slack()+3*time.Second {
			poked = true
			for key := range w.all() {
				if err := w.poke(context.Background(), key, "the end"); err != nil {
					return err
				}
			}
		}
		return nil
	})
	last.Kill()
	if err := panics(w.logs); err != nil {
		w.t.Error(err)
	}
	if k.kills < leastKills {
		w.t.Errorf("the operator was killed only %d times", k.kills)
	}
	return took
}

// lateDuplicates registers some remote agents again, like an API that commits a lost request very late and allows several
// agents with one machine ID. It returns their number.
func (w *world) lateDuplicates(p *place, most int) int {
	w.t.Helper()
	a := &account{world: w, place: p}
	if err := a.load(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	made := 0
	for _, key := range sorted(a.agents) {
		agent := a.agents[key]
		remote, found := a.remote[agent.Status.ID]
		// The duplicates of an Agent that is deleted would not be searched for.
		if registered := agent.Status.RegistrationIntent; made == most || !found || !agent.DeletionTimestamp.IsZero() ||
			registered == "" || registered != agent.Annotations[v1alpha1.AnnotationRegistrationIntent] {
			continue
		}
		body, err := json.Marshal(cloud.Registration{
			Name: remote.Name, MachineID: remote.MachineID, Type: remote.Type,
			Version: remote.Version, Edition: remote.Edition, RawConfig: remote.RawConfig,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		request := httptest.NewRequest(http.MethodPost, "/v1/agents", bytes.NewReader(body))
		request.Header.Set("Authorization", "Bearer "+p.token.Reveal())
		response := httptest.NewRecorder()
		if p.cloud.ServeHTTP(response, request); response.Code != http.StatusCreated {
			w.t.Fatalf("the registration of a duplicate of %s returned %d", remote.ID, response.Code)
		}
		made++
	}
	return made
}

func (w *world) summarize(k *killer, restarts int, actions int64, duplicates int, tortured, took time.Duration) {
	remote := 0
	for _, p := range w.places {
		remote += len(p.cloud.Agents(p.projectID))
		w.t.Logf("cloud of %s: %s; %d registrations, %d deletions arrived", p.namespace, p.faults.summary(),
			p.cloud.Count(http.MethodPost, cloudtest.RouteAgents), p.cloud.Count(http.MethodDelete, cloudtest.RouteAgent))
	}
	w.t.Logf("seed %d: %d kills (%v), %d times given up over %d restarts of the API server, %d actions on %d names within %s; "+
		"%d late duplicates; all %d Agents agreed %s after the last start",
		*seed, k.kills, k.at, k.gaveUp, restarts, actions, *agents, tortured.Round(time.Second),
		duplicates, remote, took.Round(100*time.Millisecond))
}
