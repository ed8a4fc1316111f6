/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fairness

import (
	"container/heap"

	"k8s.io/apimachinery/pkg/types"
)

// places counts the workers of each namespace, and queues the keys that wait for one.
//
// Invariant: while keys of a namespace wait, the rule gives the namespace no further worker. So a new key never overtakes
// a waiting one.
type places struct {
	workers int
	held    int // by all namespaces
	lines   int // waiting keys, in all namespaces
	arrived uint64
	shares  map[string]*share
	waiting map[string]*share // the shares with waiting keys
}

// share is the workers and the waiting keys of one namespace. It exists while it is not empty.
type share struct {
	held    int
	reserve map[types.NamespacedName]bool // counted in held; these keys are in the queue
	keys    map[types.NamespacedName]*waiter
	line    line
}

// waiter is a waiting key.
type waiter struct {
	key      types.NamespacedName
	priority int
	arrival  uint64
	index    int // in its line
}

func newPlaces(workers int) *places {
	return &places{workers: workers, shares: map[string]*share{}, waiting: map[string]*share{}}
}

// mayTake is the rule: a namespace gets another worker while it has none, or fewer than are free.
func (p *places) mayTake(s *share) bool { return s.held == 0 || s.held < p.workers-p.held }

// enter reports whether the key gets a worker now. If not, it waits until leave returns it.
func (p *places) enter(key types.NamespacedName, priority int) bool {
	s := p.shares[key.Namespace]
	if s == nil {
		s = &share{reserve: map[types.NamespacedName]bool{}, keys: map[types.NamespacedName]*waiter{}}
		p.shares[key.Namespace] = s
	}
	switch w := s.keys[key]; {
	case s.reserve[key]:
		delete(s.reserve, key)
	case w != nil:
		s.line.raise(w, priority)
		return false
	case p.mayTake(s):
		s.held++
		p.held++
	default:
		p.arrived++
		w := &waiter{key: key, priority: priority, arrival: p.arrived}
		s.keys[key] = w
		heap.Push(&s.line, w)
		p.lines++
		p.waiting[key.Namespace] = s
		return false
	}
	return true
}

// leave releases a worker of the namespace, and returns the keys that get one now. The worker is reserved until the key
// enters again, so a key waits once.
func (p *places) leave(namespace string) (next []waiter) {
	left := p.shares[namespace]
	left.held--
	p.held--
	for s := p.next(left); s != nil; s = p.next(left) {
		w := heap.Pop(&s.line).(*waiter)
		p.lines--
		delete(s.keys, w.key)
		if len(s.keys) == 0 {
			delete(p.waiting, w.key.Namespace)
		}
		s.reserve[w.key] = true
		s.held++
		p.held++
		next = append(next, *w)
	}
	if left.held == 0 {
		delete(p.shares, namespace) // Nothing waits there: the rule would have given it a worker.
	}
	return next
}

// next is the namespace that gets the worker that was just released: of the waiting ones that the rule allows, the one
// with the fewest workers, and of equal ones the one that has waited longest.
func (p *places) next(left *share) (next *share) {
	if p.held >= p.workers { // Only a namespace without a worker may get one, and no other one has lost its last.
		if left.held == 0 && len(left.line) > 0 {
			return left
		}
		return nil
	}
	// Every waiting namespace has a worker, except for the one that left: so there are not more of them than workers.
	for _, s := range p.waiting {
		if p.mayTake(s) && (next == nil || s.held < next.held || s.held == next.held && s.oldest() < next.oldest()) {
			next = s
		}
	}
	return next
}

// oldest is the arrival of the next key.
func (s *share) oldest() uint64 { return s.line[0].arrival }

// line is a heap of the waiting keys of a namespace: the highest priority first, then the oldest.
type line []*waiter

// raise moves a key to a higher priority; it keeps its arrival.
func (l *line) raise(w *waiter, priority int) {
	if priority > w.priority {
		w.priority = priority
		heap.Fix(l, w.index)
	}
}

func (l line) Len() int { return len(l) }

func (l line) Less(i, j int) bool {
	if l[i].priority != l[j].priority {
		return l[i].priority > l[j].priority
	}
	return l[i].arrival < l[j].arrival
}

func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push is for container/heap.
func (l *line) Push(x any) {
	w := x.(*waiter)
	w.index = len(*l)
	*l = append(*l, w)
}

// Pop is for container/heap.
func (l *line) Pop() any {
	last := len(*l) - 1
	w := (*l)[last]
	(*l)[last] = nil
	*l = (*l)[:last]
	return w
}
