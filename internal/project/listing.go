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
	failedAt  time.Time           // when the last list failed; zero if it did not
	failed    error               // what it failed with
	failures  int                 // in a row
	restsFor  time.Duration       // after failedAt
	pageSize  int                 // that fitted into an answer last; zero for the usual one
	running   *listRun
}

type listRun struct {
	startedAt time.Time
	cancel    context.CancelFunc
	done      chan struct{}
	err       error
	added     []Entry
	dropped   sets.Set[string]
}

// FindByMachine returns the remote agents with a machine ID, from a list that was started after the given
// time. ok is false where the service lists nothing. A list that takes long is a waiting failure, and so is that it
// is not known yet whether there is one: just after the token changed, say.
func (p *Project) FindByMachine(ctx context.Context, machineID string, after time.Time) (found []Entry, ok bool, err error) {
	l := &p.listing
	ok, err = p.snapshot(ctx, after, func() {
		for _, id := range l.byMachine[machineID] {
			found = append(found, l.entries[id])
		}
	})
	return found, ok, err
}

// Lacks reports whether a snapshot that was begun after the given time lacks a remote agent. listed is false where the
// service lists nothing: then nothing is known. Its failures are those of FindByMachine. Who asks again gives the same
// time again: a later one may need another snapshot each time.
func (p *Project) Lacks(ctx context.Context, id string, after time.Time) (lacks, listed bool, err error) {
	listed, err = p.snapshot(ctx, after, func() {
		_, there := p.listing.entries[cloud.NormalID(id)]
		lacks = !there
	})
	return lacks, listed, err
}

// snapshot has a list read that was started after the given time; ok is false where the service lists nothing.
func (p *Project) snapshot(ctx context.Context, after time.Time, read func()) (ok bool, err error) {
	if lists := p.Proof().ListSupported; lists == nil {
		return true, fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"it is not known yet whether the service of CloudProject %s lists its agents", p.key).After(spread(time.Second)).Quietly()
	} else if !*lists {
		return false, nil
	}
	// A list that starts from now on is after whatever the caller has seen, even if that was written by
	// somebody whose clock is ahead.
	if now := p.registry.opts.Clock.Now(); !after.Before(now) {
		after = now.Add(-1)
	}
	l := &p.listing
	for {
		unusable := p.usable()
		l.mu.Lock()
		if l.startedAt.After(after) {
			read()
			l.mu.Unlock()
			return true, nil
		}
		run, err := l.join(unusable)
		l.mu.Unlock()
		if err == nil {
			err = l.await(ctx, run)
		}
		if err != nil {
			return true, err
		}
	}
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
	case ours && (e.Reason == cloud.ReasonInvalidAnswer || e.Reason == cloud.ReasonTooLarge):
		f = fault.Retryablef(v1alpha1.ReasonInvalidAnswer,
			"%v: check the CloudProject's url and what stands between it and the operator", e)
	default:
		f = fault.Retryablef(v1alpha1.ReasonUnavailable, "the remote agents are not listed: %v", err)
	}
	return f.After(max(f.RetryAfter, spread(rest))).Because(err)
}

// Sighting returns a remote agent as a list showed it that was started after the given time, and when that
// was. ok is false where no such list can be had, or where it lacks the agent: then a read has to tell. It
// does not wait for a list that is under way, but is a waiting failure.
func (p *Project) Sighting(id string, after time.Time) (seen Entry, at time.Time, ok bool, err error) {
	if !p.Proof().lists() {
		return Entry{}, time.Time{}, false, nil
	}
	l := &p.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.startedAt.After(after):
		seen, ok = l.entries[id]
		return seen, l.startedAt, ok && seen.Remote != nil, nil
	case l.running == nil && p.registry.opts.Clock.Now().Sub(l.failedAt) < listRest:
		return Entry{}, time.Time{}, false, nil
	case l.running == nil:
		l.start()
	}
	return Entry{}, time.Time{}, false, l.waiting(l.running)
}

// waiting has callers come back when the list may be ended, if it takes as long as the one before; but not later
// than after as long as it has taken so far. Thousands may wait for a slow one. l.mu is held.
func (l *listing) waiting(run *listRun) error {
	so := l.age(run)
	wait := so
	if l.took > 0 {
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

// Expect tells how many Agents there are. While there are any a proof begins the first list.
func (p *Project) Expect(agents int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agents = agents
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
	timer := time.NewTimer(max(listPatience-l.age(run), 0))
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
// the time of each page, by that of a call, and the number of agents.
func (l *listing) start() *listRun {
	ctx, cancel := context.WithCancel(context.Background())
	run := &listRun{
		startedAt: l.project.registry.opts.Clock.Now(), cancel: cancel, done: make(chan struct{}), dropped: sets.New[string](),
	}
	l.running = run
	go func() {
		defer cancel()
		entries, err := l.project.readAll(ctx)
		l.mu.Lock()
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
	l.failedAt, l.failed, l.failures, l.restsFor, l.pageSize = time.Time{}, nil, 0, 0, 0
}
