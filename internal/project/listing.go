/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// listRest is how long a list that failed is not tried again for what can be had without it. For what needs it
	// the rest begins with a second and grows up to this.
	listRest = time.Minute
	// slowerBy is how much longer a list has to take for the CloudProject to be told of it at once.
	slowerBy = 30 * time.Second
	// shortList is how long a list takes at most to need no pause after it.
	shortList = 50 * time.Millisecond
	// listPatience is how long a caller waits for a list before it comes back later.
	listPatience = 5 * time.Second
)

// listing is the one list of remote agents that all Agents of a CloudProject share. What the operator
// itself registers and deletes is kept up in it, so that it needs no reading anew for that.
type listing struct {
	project *Project

	mu        sync.Mutex
	entries   map[string]Entry    // by ID
	byMachine map[string][]string // IDs by machine ID
	startedAt time.Time           // of the list that entries came from; zero without one
	took      time.Duration       // the reading of it
	pauseTo   time.Time           // when the next list may begin; it is waited for, so the real clock tells
	failedAt  time.Time           // when the last list failed; zero if it did not
	failed    error               // what it failed with
	failures  int                 // in a row
	restsFor  time.Duration       // after failedAt
	paging    paging
	running   *listRun
}

type listRun struct {
	startedAt time.Time // or when it starts, while it waits for that
	cancel    context.CancelFunc
	done      chan struct{}
	err       error
	added     []Entry
	dropped   sets.Set[string]
}

// join returns the list that is under way, or begins one. After one that failed there is a rest: else everybody who
// waits would begin the next. l.mu is held.
func (l *listing) join(unusable error) (*listRun, error) {
	if l.running != nil {
		return l.running, nil
	}
	if unusable != nil {
		return nil, unusable
	}
	if rest := l.rest(); rest > 0 {
		return nil, notListed(l.failed, rest)
	}
	return l.start(), nil
}

func (l *listing) rest() time.Duration {
	return l.failedAt.Add(l.restsFor).Sub(l.project.registry.opts.Clock.Now())
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
	return f.After(max(f.RetryAfter, spread(rest))).Because(err)
}

// waiting has callers come back when the list may be ended, if it takes as long as the one before; but not later
// than after as long as it has taken so far. Thousands may wait for a slow one. l.mu is held.
func (l *listing) waiting(run *listRun) error {
	so := l.age(run)
	wait := so
	switch {
	case so < 0:
		wait = l.took - so
	case l.took > 0:
		wait = min(so, (l.took - so).Abs())
	}
	return fault.Waitingf(v1alpha1.ReasonProgressing, "waiting for the list of remote agents").
		After(spread(max(wait, time.Second))).Quietly()
}

func (l *listing) age(run *listRun) time.Duration {
	return l.project.registry.opts.Clock.Now().Sub(run.startedAt)
}

// ListTook is how long the newest complete list took to be read; zero without one.
func (p *Project) ListTook() time.Duration {
	p.listing.mu.Lock()
	defer p.listing.mu.Unlock()
	return p.listing.took
}

// Expect tells how many Agents of each namespace there are. While there are any a proof begins the first list.
func (p *Project) Expect(agents map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agents = agents
}

// counts returns how many Agents there are, and how many of them in one namespace.
func (p *Project) counts(namespace string) (all, there int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return total(p.agents), p.agents[namespace]
}

func total(agents map[string]int) (all int) {
	for _, n := range agents {
		all += n
	}
	return all
}

// Warm begins the first list before anybody asks for it: Agents that are registered after a start wait for it.
func (p *Project) Warm() {
	l := &p.listing
	lists := p.Proof().lists()
	l.mu.Lock()
	defer l.mu.Unlock()
	if lists && l.startedAt.IsZero() && l.failedAt.IsZero() && l.running == nil {
		l.start()
	}
}

// Warming reports whether the first list is being read, and has not been for long.
func (p *Project) Warming() bool {
	l := &p.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.startedAt.IsZero() && l.running != nil && l.age(l.running) < listPatience
}

// await waits for a list, but no longer than until it is listPatience old: workers have other things to do.
func (l *listing) await(ctx context.Context, run *listRun) error {
	l.mu.Lock()
	patience := listPatience - l.age(run).Abs()
	l.mu.Unlock()
	timer := time.NewTimer(max(patience, 0))
	defer timer.Stop()
	select {
	case <-run.done:
		return run.err
	case <-ctx.Done():
		return fault.Retryablef(v1alpha1.ReasonUnavailable,
			"the list of remote agents took longer than there was time").Because(ctx.Err())
	case <-timer.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.waiting(run)
	}
}

// confirm brings what was seen up to the newest complete list, and returns when that was begun; the zero time if
// there is none. Then nothing is known by then.
func (l *listing) confirm(seen map[types.UID]sight) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for who, s := range seen {
		if _, there := l.entries[s.id]; there && s.at.Before(l.startedAt) {
			seen[who] = sight{at: l.startedAt, id: s.id}
		}
	}
	return l.startedAt
}

// awaitList has a list begun, if none is under way, and is a waiting failure until it is there.
func (p *Project) awaitList() error {
	l, unusable := &p.listing, p.usable()
	l.mu.Lock()
	defer l.mu.Unlock()
	run, err := l.join(unusable)
	if err != nil {
		return err
	}
	return l.waiting(run)
}

// start begins a list on its own; l.mu is held. It may take as long as the rate limit makes it: what is bounded is
// the time of each page, by that of a call, and the number of agents. It waits for as long as the list before took, and
// serves all who come until then: else those who ask all the time would leave no time without a list to the others.
func (l *listing) start() *listRun {
	ctx, cancel := context.WithCancel(context.Background())
	pause := max(time.Until(l.pauseTo), 0)
	run := &listRun{
		startedAt: l.project.registry.opts.Clock.Now().Add(pause), cancel: cancel, done: make(chan struct{}), dropped: sets.New[string](),
	}
	l.running = run
	go func() {
		defer cancel()
		if pause > 0 {
			l.pause(ctx, run, pause)
		}
		began := time.Now()
		entries, err := l.project.readAll(ctx)
		l.mu.Lock()
		if took := time.Since(began); l.running == run && took >= shortList {
			l.pauseTo = time.Now().Add(took)
		}
		before := l.took
		l.end(run, entries, err)
		slower := l.took-before >= slowerBy
		close(run.done)
		l.mu.Unlock()
		if slower {
			l.project.registry.doubted(l.project.key) // The interval may have to be longer, and soon.
		}
	}()
	return run
}

// pause waits until a list may begin, or is given up. What was registered and deleted until then is in the list.
func (l *listing) pause(ctx context.Context, run *listRun, pause time.Duration) {
	begin := time.NewTimer(pause)
	defer begin.Stop()
	select {
	case <-begin.C:
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	run.startedAt, run.added, run.dropped = l.project.registry.opts.Clock.Now(), nil, sets.New[string]()
}

// end takes over what came of a list; l.mu is held.
func (l *listing) end(run *listRun, entries []Entry, err error) {
	if l.running != run {
		run.err = err // It is of another place.
		return
	}
	l.running = nil
	if err == nil {
		l.replace(run, entries)
		l.took = l.age(run)
		l.failedAt, l.failed, l.failures, l.restsFor = time.Time{}, nil, 0, 0
		l.project.metrics.Listed(run.startedAt, len(entries))
		return
	}
	l.failures++
	l.failedAt, l.failed = l.project.registry.opts.Clock.Now(), err
	l.restsFor = fault.Backoff(l.failures, time.Second, listRest)
	l.project.metrics.NotListed()
	run.err = notListed(err, l.restsFor)
}

// replace takes over a finished list, with what was registered and deleted while it ran.
func (l *listing) replace(run *listRun, entries []Entry) {
	l.entries, l.byMachine = map[string]Entry{}, map[string][]string{}
	for _, e := range append(entries, run.added...) {
		if !run.dropped.Has(e.ID) {
			l.put(e)
		}
	}
	l.startedAt = run.startedAt
}

func (l *listing) put(e Entry) {
	l.entries[e.ID] = e
	if ids := l.byMachine[e.MachineID]; !slices.Contains(ids, e.ID) {
		l.byMachine[e.MachineID] = append(ids, e.ID)
	}
}

func (l *listing) add(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries != nil {
		l.put(e)
	}
	if l.running != nil {
		l.running.added = append(l.running.added, e)
	}
}

func (l *listing) drop(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, known := l.entries[id]; known {
		delete(l.entries, id)
		ids := slices.DeleteFunc(l.byMachine[e.MachineID], func(other string) bool { return other == id })
		if l.byMachine[e.MachineID] = ids; len(ids) == 0 {
			delete(l.byMachine, e.MachineID)
		}
	}
	if l.running != nil {
		l.running.dropped.Insert(id)
	}
}

func (l *listing) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running != nil {
		l.running.cancel()
	}
	l.entries, l.byMachine, l.startedAt, l.took, l.running = nil, nil, time.Time{}, 0, nil
	l.pauseTo = time.Time{}
	l.failedAt, l.failed, l.failures, l.restsFor, l.paging = time.Time{}, nil, 0, 0, paging{}
}
