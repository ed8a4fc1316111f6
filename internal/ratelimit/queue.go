/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package ratelimit

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Caller is the Agent on whose behalf a request is made.
type Caller struct {
	UID types.UID
	// Namespace of the Agent: namespaces share the rate limit.
	Namespace string
	// Session is the version of the connection that the Agent is reconciled with; zero for any.
	Session int
	// Requested is the request to reconcile that the Agent has.
	Requested string
	// Interval is the time between two checks of the Agent: nothing that was read is believed for longer.
	Interval time.Duration
	// Turn bounds the reconciliation that makes the request; nil for no bound.
	Turn *Turn
}

// line holds the reservations. Each namespace has its own queue, first come, first served. Namespaces take turns, so that
// ten thousand Agents of one namespace delay an Agent of another by one request.
type line struct {
	waiting map[types.UID]*waiter
	queues  map[string]*queue // none is empty
	turns   uint64            // number of turns so far
	joined  uint64            // number of reservations so far
}

// queue holds the reservations of one namespace.
type queue struct {
	waiters []*waiter // in order of arrival
	turn    uint64    // the namespace's last turn; the lowest is next
}

// waiter is a reservation with its retry time.
type waiter struct {
	uid     types.UID
	queue   *queue
	name    string // of the namespace
	number  uint64 // in order of arrival, of all namespaces
	retryAt time.Time
	halved  int           // how often it was asked to retry at half time
	late    time.Duration // how late it returned and found no token
}

func newLine() line { return line{waiting: map[types.UID]*waiter{}, queues: map[string]*queue{}} }

// join appends a reservation to the queue of the caller's namespace.
func (l *line) join(who Caller) *waiter {
	q := l.queues[who.Namespace]
	if q == nil {
		l.turns++
		q = &queue{turn: l.turns}
		l.queues[who.Namespace] = q
	}
	l.joined++
	w := &waiter{uid: who.UID, queue: q, name: who.Namespace, number: l.joined}
	q.waiters = append(q.waiters, w)
	l.waiting[who.UID] = w
	return w
}

// leave removes a reservation. Those behind it move up.
func (l *line) leave(who types.UID) {
	w := l.waiting[who]
	if w == nil {
		return
	}
	delete(l.waiting, who)
	at := w.index()
	w.queue.waiters = slices.Delete(w.queue.waiters, at, at+1)
	if len(w.queue.waiters) == 0 {
		delete(l.queues, w.name)
	}
}

// serve removes a reservation that got its token; its namespace has had its turn.
func (l *line) serve(w *waiter) {
	l.turns++
	w.queue.turn = l.turns
	l.leave(w.uid)
}

// index is the number of reservations ahead in the same namespace.
func (w *waiter) index() int {
	at, _ := slices.BinarySearchFunc(w.queue.waiters, w.number, func(other *waiter, number uint64) int {
		return cmp.Compare(other.number, number)
	})
	return at
}

// rank is the number of reservations ahead in all namespaces.
func (l *line) rank(w *waiter) int {
	index := w.index()
	ahead := index
	for _, q := range l.queues {
		switch {
		case q == w.queue:
		case q.turn < w.queue.turn:
			ahead += min(len(q.waiters), index+1)
		default:
			ahead += min(len(q.waiters), index)
		}
	}
	return ahead
}

// coming counts the reservations ahead with a retry time in this interval. The first of a namespace is expected for longer if it
// returned late before: else a namespace that always asks takes each token before a busy worker returns.
func (l *line) coming(w *waiter, from, to time.Time) int {
	index, count := w.index(), 0
	for _, q := range l.queues {
		first := min(len(q.waiters), index)
		if q != w.queue && q.turn < w.queue.turn {
			first = min(len(q.waiters), index+1)
		}
		for i, other := range q.waiters[:first] {
			since := from
			if i == 0 {
				since = from.Add(-other.late)
			}
			if !other.retryAt.Before(since) && !other.retryAt.After(to) {
				count++
			}
		}
	}
	return count
}

// sweep removes the reservations with a retry time before this time.
func (l *line) sweep(before time.Time) {
	for uid, w := range l.waiting {
		if w.retryAt.Before(before) {
			l.leave(uid)
		}
	}
}
