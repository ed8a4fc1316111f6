/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package inventory has one shared snapshot of a project's remote agents, so that one list serves all Agents. Registrations
// and deletions by the operator update it. It is lost with the process, which costs one list.
package inventory

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

const (
	// maxBackoff is the time to the next try after a failed list for callers that can do without it. For those that need
	// it the backoff grows from a second to this.
	maxBackoff = time.Minute
	// slowerBy is how much longer than the last one a list must take for its CloudProject to be reconciled immediately.
	slowerBy = 30 * time.Second
	// shortList is the duration up to which a list needs no pause after it.
	shortList = 50 * time.Millisecond
	// longList is the duration of a list, if the last one did not take half of it, from which on checks do not wait for it: a server
	// that sends small pages slowly, each in time, would otherwise keep all Agents unchecked.
	longList = time.Hour
	// patience is how long a caller waits for a list before it is asked to retry.
	patience = 5 * time.Second
)

// Source is the connection to the project as the inventory uses it.
type Source interface {
	// Usable fails while no request can be made.
	Usable() error
	// ListSupported says whether the API lists agents; nil while it is not known.
	ListSupported() *bool
	// Fetch gets one page. It may wait for the rate limit. learn is called with the outcome of reading the page, unless it is empty:
	// that shows nothing of the credentials.
	Fetch(ctx context.Context, o cloud.ListOptions) (page *cloud.RawPage, learn func(error), err error)
	// KnowsAgents reports whether agents of the project are known from other responses than lists.
	KnowsAgents() bool
	// NeedsVerification requests a reconciliation of the CloudProject.
	NeedsVerification()
}

// Options are the same for all inventories of a process, except for Name and Metrics.
type Options struct {
	// Name of the CloudProject, for messages.
	Name    string
	Clock   clock.PassiveClock
	Metrics *metrics.Project
	// MostAgents bounds a snapshot.
	MostAgents int
	// Memory bounds the memory of the snapshots of all inventories, by the Namespace of the CloudProject.
	Memory    *Memory
	Namespace string
	Delays    Delays
}

// Inventory holds the snapshot of remote agents that all Agents of a CloudProject share.
type Inventory struct {
	source Source
	opts   Options

	mu       sync.Mutex
	snapshot snapshot
	failure  failure
	reader   *reader
	pauseTo  time.Time // when the next list may start, by the real clock: run.pause sleeps until then
	running  *run
}

// New returns an Inventory without a snapshot.
func New(source Source, opts Options) *Inventory {
	i := &Inventory{source: source, opts: opts}
	i.reader = &reader{source: source, most: opts.MostAgents, known: func() bool { return knowsAgents(i) }, delays: opts.Delays.withDefaults()}
	return i
}

// knowsAgents reports whether agents of the project are known: then an empty list is not believed at once.
func knowsAgents(i *Inventory) bool {
	if i.source.KnowsAgents() { // Without the lock: the safeguard takes it while it holds its own.
		return true
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.snapshot.entries) > 0
}

// run is a list in progress.
type run struct {
	startedAt time.Time // or will start, during the pause before
	cancel    context.CancelFunc
	done      chan struct{}
	err       error
	added     []Entry
	read      map[string]Entry // by ID, what reads showed meanwhile
	dropped   map[string]bool
	charge    *Charge // of the list, and of what is added and read
	full      error   // why something could not be added, which ends the list
}

// failure is the outcome of the newest list, if that failed.
type failure struct {
	at      time.Time
	err     error
	count   int           // in a row
	backoff time.Duration // after at
}

// join returns the list in progress, or starts one. After a failure there is a backoff: else each waiting caller would
// start the next. The caller holds i.mu.
func (i *Inventory) join(unusable error) (*run, error) {
	if i.running != nil {
		return i.running, nil
	}
	if unusable != nil {
		return nil, unusable
	}
	if wait := i.failure.at.Add(i.failure.backoff).Sub(i.opts.Clock.Now()); wait > 0 {
		return nil, notListed(i.failure.err, wait)
	}
	return i.start(), nil
}

// notListed is the failure of callers that need a list that failed, with the time until the next try.
func notListed(err error, wait time.Duration) error {
	e, ours := cloud.AsError(err)
	f, classed := fault.As(err)
	switch {
	case classed:
	case ours && e.Class == cloud.ClassWaiting:
		return err
	case ours && (e.Reason == cloud.ReasonInvalidResponse || e.Reason == cloud.ReasonTooLarge):
		f = fault.Retryablef(v1alpha1.ReasonInvalidResponse, "%v: check the CloudProject's url, and any proxy or filter between it and the "+
			"operator, which may refuse what one of the agents holds", e)
	case ours && !e.API && !e.NotSent:
		f = fault.Retryablef(v1alpha1.ReasonUnavailable, "listing the remote agents failed: %v: if only lists fail, check for a filter "+
			"between Calyptia Cloud and the operator, which may refuse what one of the agents holds", e)
	default:
		f = fault.Retryablef(v1alpha1.ReasonUnavailable, "listing the remote agents failed: %v", err)
	}
	return f.After(max(f.RetryAfter, fault.Spread(wait))).Because(err)
}

// waiting asks callers to retry when the list should end, if it takes as long as the last one, or after as long as it has
// taken so far, if that is sooner. Thousands may wait for a slow list. The caller holds i.mu.
func (r *run) waiting(i *Inventory) error {
	return waitingForList(r.left(i))
}

func waitingForList(left time.Duration) error {
	return fault.Waitingf(v1alpha1.ReasonProgressing, "waiting for the list of remote agents").After(fault.Spread(left)).Quietly()
}

// left is the time until a caller should retry. The caller holds i.mu.
func (r *run) left(i *Inventory) time.Duration {
	so := r.age(i)
	wait := so
	switch {
	case so < 0:
		wait = i.snapshot.took - so
	case i.snapshot.took > 0:
		wait = min(so, (i.snapshot.took - so).Abs())
	}
	return max(wait, time.Second)
}

func (r *run) age(i *Inventory) time.Duration { return i.opts.Clock.Now().Sub(r.startedAt) }

// ListTook is the duration of the newest complete list; zero without one.
func (i *Inventory) ListTook() time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.snapshot.took
}

// ListLasted is how long the newest complete list lasted, with the waits that the API asked for; zero without one.
func ListLasted(i *Inventory) time.Duration {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.snapshot.lasted
}

// Warm starts the first list before any Agent asks for it: registrations after a start wait for it.
func (i *Inventory) Warm() {
	supported := i.source.ListSupported()
	i.mu.Lock()
	defer i.mu.Unlock()
	if supported != nil && *supported && i.snapshot.startedAt.IsZero() && i.failure.at.IsZero() && i.running == nil {
		i.start()
	}
}

// Warming reports whether the first list is in progress, and only for a short time.
func (i *Inventory) Warming() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.snapshot.startedAt.IsZero() && i.running != nil && i.running.age(i) < patience
}

// await waits for a list, until it has run for the callers' patience: workers must not be blocked for longer. If the list waits for a page
// that failed, callers fail like it, so that conditions say why.
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
			"reading the list of remote agents timed out").Because(ctx.Err())
	case <-timer.C:
		i.mu.Lock()
		defer i.mu.Unlock()
		if trouble := i.reader.troubled(); trouble != nil {
			return notListed(trouble, r.left(i))
		}
		return r.waiting(i)
	}
}

// start starts a list; the caller holds i.mu. The rate limit may make it slow: only the time of each page and the number
// of agents are bounded. It first pauses for as long as the last list took, and serves all callers that arrive until then:
// else frequent callers would keep the API busy with lists.
func (i *Inventory) start() *run {
	ctx, cancel := context.WithCancel(context.Background())
	pause := max(time.Until(i.pauseTo), 0)
	r := &run{startedAt: i.opts.Clock.Now().Add(pause), cancel: cancel, done: make(chan struct{})}
	r.read, r.dropped = map[string]Entry{}, map[string]bool{}
	r.charge = i.opts.Memory.Charge(i.opts.Namespace)
	i.running = r
	go func() {
		defer cancel()
		if pause > 0 {
			r.pause(ctx, i, pause)
		}
		entries, took, err := i.reader.timed(ctx, r.charge)
		if slower := i.end(r, entries, err, took); slower {
			i.source.NeedsVerification() // The resync interval may have to grow soon.
		}
	}()
	return r
}

// pause waits until a list may start, or is canceled. The list includes what was registered and deleted until then.
func (r *run) pause(ctx context.Context, i *Inventory, pause time.Duration) {
	begin := time.NewTimer(pause)
	defer begin.Stop()
	select {
	case <-begin.C:
	case <-ctx.Done():
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, e := range slices.AppendSeq(r.added, maps.Values(r.read)) {
		_ = r.charge.Add(-weigh(&e)) // what is returned never fails
	}
	_ = r.charge.Add(-droppedBytes * int64(len(r.dropped)))
	r.startedAt, r.added, r.read, r.dropped = i.opts.Clock.Now(), nil, map[string]Entry{}, map[string]bool{}
}

// end records the outcome of a list, and reports whether it took much longer than the last one.
func (i *Inventory) end(r *run, entries []Entry, err error, took time.Duration) (slower bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	defer close(r.done)
	if i.running != r {
		r.charge.End()
		r.err = err // It comes from another endpoint.
		return false
	}
	if took >= shortList {
		i.pauseTo = time.Now().Add(took)
	}
	i.running = nil
	if r.full != nil {
		err = r.full
	}
	if err == nil {
		before := i.snapshot.took
		i.snapshot.charge.End()
		i.snapshot = newSnapshot(r, entries, max(r.age(i)-i.reader.pauses(), 0))
		i.snapshot.charge, i.snapshot.lasted = r.charge, r.age(i)
		r.charge.settle(i.snapshot.weight()) // What was registered during the list may also be listed, and what was deleted is not kept.
		i.failure = failure{}
		i.opts.Metrics.Listed(r.startedAt, len(entries))
		return i.snapshot.took-before >= slowerBy
	}
	r.charge.End()
	i.failure.count++
	i.failure.at, i.failure.err = i.opts.Clock.Now(), err
	i.failure.backoff = fault.Backoff(i.failure.count, time.Second, maxBackoff)
	i.opts.Metrics.NotListed()
	r.err = notListed(err, i.failure.backoff)
	return false
}

// Reset forgets everything, because the endpoint or the token changed.
func (i *Inventory) Reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.running != nil {
		i.running.cancel()
	}
	i.snapshot.charge.End()
	i.snapshot, i.running, i.pauseTo, i.failure = snapshot{}, nil, time.Time{}, failure{}
	i.reader.reset()
}
