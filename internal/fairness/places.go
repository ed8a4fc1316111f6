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
	workers   int
	held      int // by all namespaces; never more than workers
	lines     int // waiting keys, in all namespaces
	arrived   uint64
	turns     uint64
	overtaken int // how often in a row a priority had a namespace served before one whose turn it was
	shares    map[string]*share
	waiting   map[string]*share // the shares with waiting keys
}

// mostOvertaken is how often in a row priorities decide: a check or retry has a low priority, and gets its turn, whatever the
// objects of other namespaces do.
const mostOvertaken = 3

// share is the workers and the waiting keys of one namespace. It exists while it is not empty.
type share struct {
	held    int
	turn    uint64                        // since when it waits; the lowest is next
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

// mayTake is the rule: a namespace gets a free worker while it has none, or fewer than are free.
func (p *places) mayTake(s *share) bool {
	free := p.workers - p.held
	return free > 0 && (s.held == 0 || s.held < free)
}

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
		if len(s.line) == 0 {
			p.toBack(s)
		}
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

// toBack makes the turn of a namespace the last.
func (p *places) toBack(s *share) {
	p.turns++
	s.turn = p.turns
}

// leave releases a worker of the namespace, and returns the keys that get one now. The worker is reserved until the key
// enters again, so a key waits once.
func (p *places) leave(namespace string) (next []waiter) {
	left := p.shares[namespace]
	left.held--
	p.held--
	if left.held == 0 && len(left.line) == 0 {
		delete(p.shares, namespace)
	}
	for s := p.next(); s != nil; s = p.next() {
		w := heap.Pop(&s.line).(*waiter)
		p.lines--
		delete(s.keys, w.key)
		p.toBack(s)
		if len(s.keys) == 0 {
			delete(p.waiting, w.key.Namespace)
		}
		s.reserve[w.key] = true
		s.held++
		p.held++
		next = append(next, *w)
	}
	return next
}

// next is the namespace that gets a free worker: of the waiting ones that the rule allows, one with the fewest workers. Of equal
// ones it is the one with the most urgent key, but at most mostOvertaken times in a row before the one whose turn it is.
func (p *places) next() *share {
	var urgent, first *share
	for _, s := range p.waiting {
		if !p.mayTake(s) {
			continue
		}
		if first == nil || s.held < first.held || s.held == first.held && s.turn < first.turn {
			first = s
		}
		if urgent == nil || s.held < urgent.held || s.held == urgent.held && s.before(urgent) {
			urgent = s
		}
	}
	switch {
	case first == nil:
		return nil
	case urgent == first, p.overtaken == mostOvertaken:
		p.overtaken = 0
		return first
	default:
		p.overtaken++
		return urgent
	}
}

// before reports whether the most urgent key of a namespace is served before that of another.
func (s *share) before(other *share) bool {
	mine, others := s.line[0].priority, other.line[0].priority
	return mine > others || mine == others && s.turn < other.turn
}

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
