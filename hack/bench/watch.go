/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// sight holds the fields in use of an Agent from a watch, because decoding costs time.
type sight struct {
	Generation, Observed int64
	Ready                bool
	Handled              string // the value of reconcile-at that was handled last
	Source               string // the version of the source that was applied
	Gone                 bool
}

// tracker watches the Agents of a namespace and notes when each reaches the expected state.
type tracker struct {
	mu     sync.Mutex
	seen   map[string]sight
	rounds map[string]*round // by name of Agent
	failed error
	done   chan struct{}
}

// round is one change of many Agents.
type round struct {
	left     int
	last     time.Time
	took     []time.Duration
	finished chan struct{}
	wanted   map[string]wanted
}

type wanted struct {
	began time.Time
	done  func(sight) bool
}

type watchEvent struct {
	Type   string
	Object struct {
		Message  string
		Metadata struct {
			Name, ResourceVersion string
			Generation            int64
		}
		Status struct {
			ObservedGeneration     int64
			LastHandledReconcileAt string
			Applied                struct{ SourceResourceVersion string }
			Conditions             []struct{ Type, Status string }
		}
	}
}

// watch watches until the context is done.
func watch(ctx context.Context, api rest.Interface, namespace string) *tracker {
	t := &tracker{seen: map[string]sight{}, rounds: map[string]*round{}, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		version := ""
		for ctx.Err() == nil {
			next, err := t.stream(ctx, api, namespace, version)
			if err != nil && ctx.Err() == nil {
				t.mu.Lock()
				t.failed = fmt.Errorf("the watch of %s: %w", namespace, err)
				t.mu.Unlock()
				return
			}
			version = next
		}
	}()
	return t
}

// stream reads one watch to its end, and returns the resource version for the next.
func (t *tracker) stream(ctx context.Context, api rest.Interface, namespace, version string) (string, error) {
	body, err := api.Get().AbsPath(agentsPath(namespace)).Param("watch", "1").Param("timeoutSeconds", "7200").
		Param("resourceVersion", version).Stream(ctx)
	if err != nil {
		return version, err
	}
	defer body.Close()
	decoder := json.NewDecoder(body)
	for {
		var e watchEvent
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return version, nil // The API server closes watches regularly.
		} else if err != nil {
			return version, err
		}
		if e.Type == "ERROR" {
			return version, errors.New(e.Object.Message)
		}
		version = e.Object.Metadata.ResourceVersion
		t.see(&e, time.Now())
	}
}

func (t *tracker) see(e *watchEvent, now time.Time) {
	status := &e.Object.Status
	s := sight{
		Generation: e.Object.Metadata.Generation, Observed: status.ObservedGeneration,
		Handled: status.LastHandledReconcileAt, Source: status.Applied.SourceResourceVersion, Gone: e.Type == "DELETED",
	}
	for _, c := range status.Conditions {
		s.Ready = s.Ready || c.Type == "Ready" && c.Status == "True"
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	name := e.Object.Metadata.Name
	if t.seen[name] = s; s.Gone {
		delete(t.seen, name)
	}
	r := t.rounds[name]
	if r == nil {
		return
	}
	if w := r.wanted[name]; w.done(s) {
		delete(t.rounds, name)
		delete(r.wanted, name)
		r.took = append(r.took, now.Sub(w.began))
		r.last = now
		if r.left--; r.left == 0 {
			close(r.finished)
		}
	}
}

// round begins a change of the given number of Agents.
func (t *tracker) round(n int) *round {
	return &round{left: n, finished: make(chan struct{}), wanted: map[string]wanted{}}
}

// expect starts the time of an Agent, which ends when the watch shows the expected state.
func (t *tracker) expect(r *round, name string, done func(before, now sight) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.seen[name]
	r.wanted[name] = wanted{time.Now(), func(now sight) bool { return done(before, now) }}
	t.rounds[name] = r
}

// wait waits for all Agents of the round, as long as there is progress.
func (t *tracker) wait(ctx context.Context, r *round) error {
	const patience = 2 * time.Minute
	left := -1
	for {
		timer := time.NewTimer(patience)
		select {
		case <-r.finished:
			timer.Stop()
			slices.Sort(r.took)
			return nil
		case <-t.done:
			return errors.Join(t.failed, ctx.Err())
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		t.mu.Lock()
		now, missing := r.left, t.missing(r)
		t.mu.Unlock()
		if now == left {
			return fmt.Errorf("no progress for %s; %d Agents are missing, such as %s", patience, now, missing)
		}
		left = now
	}
}

func (t *tracker) missing(r *round) string {
	var some []string
	for name := range r.wanted {
		if some = append(some, fmt.Sprintf("%s (%+v)", name, t.seen[name])); len(some) == 3 {
			break
		}
	}
	return strings.Join(some, ", ")
}

// The expected states.

func isReady(_, now sight) bool { return now.Ready && now.Observed == now.Generation }

func isUpdated(before, now sight) bool {
	return now.Generation > before.Generation && isReady(before, now)
}

func isSourced(before, now sight) bool { return now.Source != before.Source && isReady(before, now) }

func isHandled(mark string) func(sight, sight) bool {
	return func(before, now sight) bool { return now.Handled == mark && isReady(before, now) }
}

func isGone(_, now sight) bool { return now.Gone }
