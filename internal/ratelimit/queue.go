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

// Caller is the Agent on whose behalf a call is made.
type Caller struct {
	UID types.UID
	// Namespace of the Agent: the rate limit is shared out between namespaces.
	Namespace string
}

// line holds those who wait for the rate limit. Each namespace has a queue of its own, first come, first served. The
// namespaces take turns, so that ten thousand Agents of one delay an Agent of another by one call.
type line struct {
	waiting map[types.UID]*waiter
	queues  map[string]*queue // none is empty
	turns   uint64            // counts them
	joined  uint64            // counts all who ever waited
}

// queue is those of one namespace who wait.
type queue struct {
	waiters []*waiter // in the order in which they came
	turn    uint64    // when the namespace had its last turn; the longest ago is the next
}

// waiter is somebody who was told when to come back.
type waiter struct {
	uid    types.UID
	queue  *queue
	name   string // of the namespace
	number uint64 // in the order in which all came
	told   time.Time
	halved int // how often it was told to come back at half time
}

func newLine() line { return line{waiting: map[types.UID]*waiter{}, queues: map[string]*queue{}} }

// join puts somebody at the end of the queue of their namespace.
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

// leave takes somebody out. Those behind them move up.
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

// serve takes somebody out who has made their call. Their namespace has had its turn.
func (l *line) serve(w *waiter) {
	l.turns++
	w.queue.turn = l.turns
	l.leave(w.uid)
}

// index is how many of the same namespace are ahead.
func (w *waiter) index() int {
	at, _ := slices.BinarySearchFunc(w.queue.waiters, w.number, func(other *waiter, number uint64) int {
		return cmp.Compare(other.number, number)
	})
	return at
}

// rank is how many are ahead, of all namespaces.
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

// coming counts those ahead who were told to come in this time.
func (l *line) coming(w *waiter, from, to time.Time) int {
	index, count := w.index(), 0
	for _, q := range l.queues {
		first := min(len(q.waiters), index)
		if q != w.queue && q.turn < w.queue.turn {
			first = min(len(q.waiters), index+1)
		}
		for _, other := range q.waiters[:first] {
			if !other.told.Before(from) && !other.told.After(to) {
				count++
			}
		}
	}
	return count
}

// sweep takes those out who were told to come before this time, and did not.
func (l *line) sweep(before time.Time) {
	for uid, w := range l.waiting {
		if w.told.Before(before) {
			l.leave(uid)
		}
	}
}
