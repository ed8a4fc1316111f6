/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package inventory is the project's remote agents as one shared snapshot: all Agents that ask cause one list. What the
// operator itself registers and deletes is kept up in it. It is lost with the process, which costs one list.
package inventory

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

const (
	// mostRest is how long a list that failed is not tried again for what can be had without it. For what needs it the
	// rest begins with a second and grows up to this.
	mostRest = time.Minute
	// slowerBy is how much longer a list has to take for its CloudProject to be reconciled at once.
	slowerBy = 30 * time.Second
	// shortList is how long a list takes at most to need no pause after it.
	shortList = 50 * time.Millisecond
	// patience is how long a caller waits for a list before it comes back later.
	patience = 5 * time.Second
)

// Source is what the inventory asks of the connection to the project.
type Source interface {
	// Usable fails while no request can be made.
	Usable() error
	// ListSupported says whether the API lists agents; nil while it is not known.
	ListSupported() *bool
	// Fetch gets one page. It may wait for the rate limit. learn is called with what came of reading the page.
	Fetch(ctx context.Context, o cloud.ListOptions) (page *cloud.RawPage, learn func(error), err error)
	// NeedsVerification has the CloudProject reconciled.
	NeedsVerification()
}

// Options are the same for all inventories of a process, except for Name and Metrics.
type Options struct {
	// Name of the CloudProject, for messages.
	Name    string
	Clock   clock.PassiveClock
	Metrics *metrics.Project
	// MostAgents bounds the memory that a list may take.
	MostAgents int
}

// Inventory is the one list of remote agents that all Agents of a CloudProject share.
type Inventory struct {
	source Source
	opts   Options

	mu       sync.Mutex
	snapshot snapshot
	failure  failure
	reader   *reader
	pauseTo  time.Time // when the next list may begin; it is waited for, so this is of the real clock
	running  *run
}

// New returns an Inventory without a snapshot.
func New(source Source, opts Options) *Inventory {
	return &Inventory{source: source, opts: opts, reader: &reader{source: source, most: opts.MostAgents}}
}

// run is a list that is under way.
type run struct {
	startedAt time.Time // or when it starts, while it waits for that
	cancel    context.CancelFunc
	done      chan struct{}
	err       error
	added     []Entry
	dropped   map[string]bool
}

// failure is the newest list, if that failed.
type failure struct {
	at      time.Time
	err     error
	count   int           // in a row
	restFor time.Duration // after at
}

// join returns the list that is under way, or begins one. After one that failed there is a rest: else everybody who
// waits would begin the next. i.mu is held.
func (i *Inventory) join(unusable error) (*run, error) {
	if i.running != nil {
		return i.running, nil
	}
	if unusable != nil {
		return nil, unusable
	}
	if rest := i.failure.at.Add(i.failure.restFor).Sub(i.opts.Clock.Now()); rest > 0 {
		return nil, notListed(i.failure.err, rest)
	}
	return i.start(), nil
}

// notListed is the failure of who needs a list that failed, and may be begun again after a rest.
func notListed(err error, rest time.Duration) error {
	e, ours := cloud.AsError(err)
	f, classed := fault.As(err)
	switch {
	case classed:
	case ours && e.Class == cloud.ClassWaiting:
		return err
	case ours && (e.Reason == cloud.ReasonInvalidResponse || e.Reason == cloud.ReasonTooLarge):
		f = fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"%v: check the CloudProject's url and what stands between it and the operator", e)
	default:
		f = fault.Retryablef(v1alpha1.ReasonUnavailable, "the remote agents are not listed: %v", err)
	}
	return f.After(max(f.RetryAfter, fault.Spread(rest))).Because(err)
}

// waiting has callers come back when the list may be ended, if it takes as long as the one before; but not later
// than after as long as it has taken so far. Thousands may wait for a slow one. i.mu is held.
func (r *run) waiting(i *Inventory) error {
	so := r.age(i)
	wait := so
	switch {
	case so < 0:
		wait = i.snapshot.took - so
	case i.snapshot.took > 0:
		wait = min(so, (i.snapshot.took - so).Abs())
	}
	return fault.Waitingf(v1alpha1.ReasonProgressing, "waiting for the list of remote agents").
		After(fault.Spread(max(wait, time.Second))).Quietly()
}

func (r *run) age(i *Inventory) time.Duration { return i.opts.Clock.Now().Sub(r.startedAt) }

// ListTook is how long the newest complete list took to be read; zero without one.
func (i *Inventory) ListTook() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.snapshot.took
}

// Warm begins the first list before anybody asks for it: Agents that are registered after a start wait for it.
func (i *Inventory) Warm() {
	supported := i.source.ListSupported()
	i.mu.Lock()
	defer i.mu.Unlock()
	if supported != nil && *supported && i.snapshot.startedAt.IsZero() && i.failure.at.IsZero() && i.running == nil {
		i.start()
	}
}

// Warming reports whether the first list is being read, and has not been for long.
func (i *Inventory) Warming() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.snapshot.startedAt.IsZero() && i.running != nil && i.running.age(i) < patience
}

// await waits for a list, but no longer than until it is as old as callers have patience: workers have other things to do.
func (r *run) await(ctx context.Context, i *Inventory) error {
	i.mu.Lock()
	left := patience - r.age(i).Abs()
	i.mu.Unlock()
	timer := time.NewTimer(max(left, 0))
	defer timer.Stop()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return fault.Retryablef(v1alpha1.ReasonUnavailable,
			"the list of remote agents took longer than there was time").Because(ctx.Err())
	case <-timer.C:
		i.mu.Lock()
		defer i.mu.Unlock()
		return r.waiting(i)
	}
}

// start begins a list; i.mu is held. It may take as long as the rate limit makes it: what is bounded is the time of each
// page, by that of a request, and the number of agents. It waits for as long as the list before took, and serves all who
// come until then: else those who ask all the time would leave no time without a list to the others.
func (i *Inventory) start() *run {
	ctx, cancel := context.WithCancel(context.Background())
	pause := max(time.Until(i.pauseTo), 0)
	r := &run{startedAt: i.opts.Clock.Now().Add(pause), cancel: cancel, done: make(chan struct{}), dropped: map[string]bool{}}
	i.running = r
	go func() {
		defer cancel()
		if pause > 0 {
			r.pause(ctx, i, pause)
		}
		began := time.Now()
		entries, err := i.reader.all(ctx)
		if slower := i.end(r, entries, err, time.Since(began)); slower {
			i.source.NeedsVerification() // The interval may have to be longer, and soon.
		}
	}()
	return r
}

// pause waits until a list may begin, or is given up. What was registered and deleted until then is in the list.
func (r *run) pause(ctx context.Context, i *Inventory, pause time.Duration) {
	begin := time.NewTimer(pause)
	defer begin.Stop()
	select {
	case <-begin.C:
	case <-ctx.Done():
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	r.startedAt, r.added, r.dropped = i.opts.Clock.Now(), nil, map[string]bool{}
}

// end takes up what came of a list, and reports whether it took much longer than the one before.
func (i *Inventory) end(r *run, entries []Entry, err error, took time.Duration) (slower bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	defer close(r.done)
	if i.running != r {
		r.err = err // It is of another endpoint.
		return false
	}
	if took >= shortList {
		i.pauseTo = time.Now().Add(took)
	}
	i.running = nil
	if err == nil {
		before := i.snapshot.took
		i.snapshot = newSnapshot(r, entries, r.age(i))
		i.failure = failure{}
		i.opts.Metrics.Listed(r.startedAt, len(entries))
		return i.snapshot.took-before >= slowerBy
	}
	i.failure.count++
	i.failure.at, i.failure.err = i.opts.Clock.Now(), err
	i.failure.restFor = fault.Backoff(i.failure.count, time.Second, mostRest)
	i.opts.Metrics.NotListed()
	r.err = notListed(err, i.failure.restFor)
	return false
}

// Reset forgets everything, because the endpoint changed.
func (i *Inventory) Reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running != nil {
		i.running.cancel()
	}
	i.snapshot, i.running, i.pauseTo, i.failure = snapshot{}, nil, time.Time{}, failure{}
	i.reader.reset()
}
