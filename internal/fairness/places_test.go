/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fairness

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

// key is "namespace/name".
func key(text string) types.NamespacedName {
	namespace, name, _ := strings.Cut(text, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// fill has a namespace take as many workers as it gets.
func fill(p *places, namespace string) (held int) {
	for p.enter(key(fmt.Sprintf("%s/%d", namespace, held)), 0) {
		held++
	}
	return held
}

// A new namespace gets what the rule leaves, whatever the others do.
func TestPlaces_Shares(t *testing.T) {
	for _, row := range []struct {
		name    string
		workers int
		want    []int // what namespaces get that come one after the other and take all they can
	}{
		{"a namespace alone gets half", 32, []int{16}},
		{"each further one gets half of what is left", 32, []int{16, 8, 4, 2, 1, 1}},
		{"of few workers, too", 8, []int{4, 2, 1, 1}},
		{"two workers", 2, []int{1, 1}},
		{"an odd number", 5, []int{3, 1, 1}},
		{"a single worker", 1, []int{1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPlaces(row.workers)
			var got []int
			for i := range row.want {
				got = append(got, fill(p, fmt.Sprint("ns-", i)))
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("the namespaces got %v, want %v", got, row.want)
			}
		})
	}
}

// Namespaces whose passes never end, fewer than workers, never hold all of them for longer than until
// one pass of a namespace with several ends.
func TestPlaces_FewerHostileNamespacesThanWorkers_LeaveAWorkerToAFurtherOne(t *testing.T) {
	for _, workers := range []int{2, 4, 8, 16, 32} {
		for hostile := 1; hostile < workers; hostile++ {
			p := newPlaces(workers)
			running := map[string][]types.NamespacedName{}
			for i := range hostile { // One after the other: the worst case.
				namespace := fmt.Sprint("hostile-", i)
				for n := range 2 * workers {
					if k := key(fmt.Sprintf("%s/%d", namespace, n)); p.held < workers && p.enter(k, 0) {
						running[namespace] = append(running[namespace], k)
					}
				}
			}
			if p.held == workers { // A hanging request of the namespace with the most workers ends.
				most := ""
				for namespace, keys := range running {
					if most == "" || len(keys) > len(running[most]) {
						most = namespace
					}
				}
				if next := p.leave(most); len(next) != 0 {
					t.Errorf("%d workers, %d hostile namespaces: the worker that came free went to %v", workers, hostile, next)
				}
			}
			if p.held >= workers || !p.enter(key("victim/new"), 0) {
				t.Errorf("%d workers, %d hostile namespaces: none is left", workers, hostile)
			}
		}
	}
}

// More namespaces than workers take turns.
func TestPlaces_MoreNamespacesThanWorkers_TakeTurns(t *testing.T) {
	for _, row := range []struct {
		name     string
		priority int // of the victim; the others' keys have 0
		most     int // turns of others before it
	}{
		{"an event", 0, 0},
		{"a check", -100, mostOvertaken},
	} {
		t.Run(row.name, func(t *testing.T) {
			p, hostile := newPlaces(2), []string{"a", "b"}
			for _, namespace := range hostile {
				p.enter(key(namespace+"/0"), 0)
			}
			for n := range 100 {
				if p.enter(key("victim/a"), row.priority) {
					t.Fatal("there is a third worker")
				}
				namespace := hostile[n%2]
				p.enter(key(fmt.Sprintf("%s/%d", namespace, n+1)), 0)
				next := p.leave(namespace)
				if len(next) != 1 || !p.enter(next[0].key, next[0].priority) {
					t.Fatalf("%v got one worker", next)
				}
				if next[0].key.Namespace == "victim" {
					if n > row.most {
						t.Errorf("%d were served before it, want %d at most", n, row.most)
					}
					return
				}
			}
			t.Error("it is never served")
		})
	}
}

func TestPlaces_Order(t *testing.T) {
	type arrival struct {
		key      string
		priority int
	}
	for _, row := range []struct {
		name     string
		arrivals []arrival
		want     []string // as workers come free
	}{
		{"first come, first served", []arrival{{"a/1", 0}, {"a/2", 0}, {"a/3", 0}}, []string{"a/1", "a/2", "a/3"}},
		{"a higher priority first", []arrival{{"a/1", -100}, {"a/2", -50}, {"a/3", 0}}, []string{"a/3", "a/2", "a/1"}},
		{"a key that becomes more urgent", []arrival{{"a/1", -100}, {"a/2", -100}, {"a/2", 0}}, []string{"a/2", "a/1"}},
		{"a key does not become less urgent", []arrival{{"a/1", 0}, {"a/1", -100}, {"a/2", -50}}, []string{"a/1", "a/2"}},
		{"a key that comes twice is served once", []arrival{{"a/1", 0}, {"a/1", 0}, {"a/2", 0}}, []string{"a/1", "a/2"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := newPlaces(2)
			p.enter(key("a/running"), 0)
			for _, a := range row.arrivals {
				if p.enter(key(a.key), a.priority) {
					t.Fatalf("%s does not wait", a.key)
				}
			}
			var got []string
			for next := p.leave("a"); len(next) > 0; next = p.leave("a") {
				if len(next) > 1 {
					t.Fatalf("%d got one worker", len(next))
				}
				got = append(got, next[0].key.String())
				if !p.enter(next[0].key, next[0].priority) {
					t.Fatalf("%s waits twice", next[0].key)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("the order is %v, want %v", got, row.want)
			}
			if len(p.shares)+len(p.waiting)+p.held != 0 {
				t.Errorf("when idle it remembers %+v", p)
			}
		})
	}
}

// Of the namespaces that wait, the one with the fewest workers is served first.
func TestPlaces_TheNamespaceWithTheFewestIsServedFirst(t *testing.T) {
	p := newPlaces(8)
	fill(p, "big")
	fill(p, "small")
	fill(p, "smaller")
	p.enter(key("last/0"), 0)
	if next := p.leave("big"); len(next) != 0 {
		t.Fatalf("the last worker went to %v", next)
	}
	var got []string
	for range 2 {
		for _, w := range p.leave("big") {
			got = append(got, w.key.Namespace)
		}
	}
	if want := []string{"smaller", "big"}; !slices.Equal(got, want) {
		t.Errorf("served were %v, want %v", got, want)
	}
}

// A released worker goes to the namespace with the fewest, even if others wait longer; among equal ones to the
// one that waits longest.
func TestPlaces_WhoseTurnItIs(t *testing.T) {
	for _, row := range []struct {
		name    string
		workers int
		running []string
		waiting []string
		leaves  string
		want    string
	}{
		{"the fewest", 6, []string{"a", "b", "a", "b"}, []string{"b", "a"}, "a", "a"},
		{"the oldest of equal ones", 8, []string{"a", "b", "c", "a", "b", "c"}, []string{"b", "a"}, "c", "b"},
		{"the oldest of equal ones, the other way around", 8, []string{"a", "b", "c", "a", "b", "c"}, []string{"a", "b"}, "c", "a"},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range 50 { // The order of a map is random.
				p := newPlaces(row.workers)
				for i, namespace := range row.running {
					if !p.enter(key(fmt.Sprintf("%s/%d", namespace, i)), 0) {
						t.Fatalf("running %d waits", i)
					}
				}
				for i, namespace := range row.waiting {
					if p.enter(key(fmt.Sprintf("%s/waiting-%d", namespace, i)), 0) {
						t.Fatalf("waiting %d does not wait", i)
					}
				}
				next := p.leave(row.leaves)
				if len(next) != 1 || next[0].key.Namespace != row.want {
					t.Fatalf("next are %v, want one of %s", next, row.want)
				}
			}
		})
	}
}

// In any sequence: no worker counts twice, the rule rejects every waiting key, all are served, and nothing is
// remembered in the end.
func TestPlaces_AnySequence(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 0))
		p := newPlaces(1 + r.IntN(9))
		var running, queued []types.NamespacedName
		served := map[types.NamespacedName]int{}
		arrivals := 0
		for i := range 400 {
			if i < 200 {
				queued = append(queued, key(fmt.Sprintf("ns-%d/%d", r.IntN(4), i)))
				arrivals++
			}
			if len(queued) > 0 && len(running) < p.workers && r.IntN(3) > 0 {
				k := queued[0]
				queued = queued[1:]
				if p.enter(k, r.IntN(3)) {
					running = append(running, k)
					served[k]++
				}
			} else if len(running) > 0 {
				n := r.IntN(len(running))
				k := running[n]
				running = slices.Delete(running, n, n+1)
				for _, next := range p.leave(k.Namespace) {
					queued = append(queued, next.key)
				}
			}
			check(t, p, len(running))
		}
		for len(queued)+len(running) > 0 {
			for len(queued) > 0 && len(running) < p.workers {
				if k := queued[0]; p.enter(k, 0) {
					running = append(running, k)
					served[k]++
				}
				queued = queued[1:]
			}
			for _, k := range running {
				for _, next := range p.leave(k.Namespace) {
					queued = append(queued, next.key)
				}
			}
			running = nil
		}
		if len(served) != arrivals || len(p.shares)+len(p.waiting)+p.held != 0 {
			t.Fatalf("seed %d: %d of %d were served, and it remembers %+v", seed, len(served), arrivals, p)
		}
	}
}

func check(t *testing.T, p *places, running int) {
	t.Helper()
	held, reserved, lines := 0, 0, 0
	for namespace, s := range p.shares {
		held += s.held
		reserved += len(s.reserve)
		lines += len(s.line)
		if (len(s.keys) > 0) != (p.waiting[namespace] == s) || len(s.keys) != len(s.line) {
			t.Fatalf("%s waits with %d and %d keys: %v", namespace, len(s.keys), len(s.line), p.waiting)
		}
		if len(s.keys) > 0 && p.mayTake(s) {
			t.Fatalf("%s waits though there is a worker for it: it has %d, held are %d of %d", namespace, s.held, p.held, p.workers)
		}
	}
	if held != p.held || held != running+reserved || lines != p.lines {
		t.Fatalf("%d are held, %d running, %d reserved; the sum is %d; %d of %d wait", p.held, running, reserved, held, p.lines, lines)
	}
}
