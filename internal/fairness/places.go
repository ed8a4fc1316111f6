/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fairness

import (
	"container/heap"

	"k8s.io/apimachinery/pkg/types"
)

// places counts the workers that each namespace holds, and keeps the keys that wait for one.
//
// Invariant: where keys of a namespace wait, the rule refuses the namespace another worker. So a key that arrives never
// overtakes one that waits.
type places struct {
	workers int
	held    int // by all namespaces
	lines   int // keys that wait, in all namespaces
	arrived uint64
	shares  map[string]*share
	waiting map[string]*share // those of shares with keys that wait
}

// share is what one namespace holds, and who waits there. It exists while it is not empty.
type share struct {
	held    int
	reserve map[types.NamespacedName]bool // counted in held; these keys are on their way through the queue
	keys    map[types.NamespacedName]*waiter
	line    line
}

// waiter is a key that waits for a worker.
type waiter struct {
	key      types.NamespacedName
	priority int
	arrival  uint64
	index    int // in its line
}

func newPlaces(workers int) *places {
	return &places{workers: workers, shares: map[string]*share{}, waiting: map[string]*share{}}
}

// admits is the rule: a namespace gets another worker while it holds none, or fewer than are free.
func (p *places) admits(s *share) bool { return s.held == 0 || s.held < p.workers-p.held }

// enter reports whether the key may be worked on now. If not, it waits until leave returns it.
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
	case p.admits(s):
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

// leave gives a worker of the namespace back, and returns the keys that get one now. Each has its worker reserved
// until it enters again, so it waits once.
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
		delete(p.shares, namespace) // Nobody waits there: the rule would have admitted them.
	}
	return next
}

// next is the namespace whose turn it is: of those that wait and are admitted, the one that holds the fewest workers,
// and of equal ones the one that has waited longest. A namespace has left a worker just now.
func (p *places) next(left *share) (next *share) {
	if p.held >= p.workers { // Only a namespace without any worker is admitted, and no other one has lost its last.
		if left.held == 0 && len(left.line) > 0 {
			return left
		}
		return nil
	}
	// Whoever waits holds a worker, apart from the one that left: there are no more of them than workers.
	for _, s := range p.waiting {
		if p.admits(s) && (next == nil || s.held < next.held || s.held == next.held && s.oldest() < next.oldest()) {
			next = s
		}
	}
	return next
}

// oldest is the arrival of the key that is served next.
func (s *share) oldest() uint64 { return s.line[0].arrival }

// line is a heap of the keys that wait in a namespace: the highest priority first, then the oldest.
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
