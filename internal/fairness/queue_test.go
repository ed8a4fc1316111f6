/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fairness

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func request(text string) reconcile.Request { return reconcile.Request{NamespacedName: key(text)} }

// started is a queue as a controller makes it, and its number of workers.
func started(t *testing.T, perNamespace int) (priorityqueue.PriorityQueue[reconcile.Request], int) {
	t.Helper()
	options := WithFairness(controller.Options{MaxConcurrentReconciles: perNamespace})
	made := options.NewQueue("test", nil)
	q, prioritized := made.(priorityqueue.PriorityQueue[reconcile.Request])
	if !prioritized {
		t.Fatalf("%T has no priorities", made)
	}
	return q, options.MaxConcurrentReconciles
}

// work starts the workers of a queue; each works until do returns, and all end with the queue.
func work(q priorityqueue.PriorityQueue[reconcile.Request], workers int, do func(reconcile.Request, int)) *sync.WaitGroup {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for {
				r, priority, shutdown := q.GetWithPriority()
				if shutdown {
					return
				}
				do(r, priority)
				q.Done(r)
			}
		})
	}
	return &all
}

// Hanging requests take at most the share of their namespace; others continue, and all are served in the end.
func TestQueue_ANamespaceThatHangs_BlocksNoOther(t *testing.T) {
	for _, row := range []struct {
		name                  string
		perNamespace, hanging int // what hangs at a time
	}{
		{"many workers", 16, 16},
		{"four workers", 4, 4},
		{"one worker", 1, 1},
		{"none given", 0, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, workers := started(t, row.perNamespace)
				var mu sync.Mutex
				hanging, most, done := 0, 0, map[string]int{}
				release := make(chan struct{})
				all := work(q, workers, func(r reconcile.Request, _ int) {
					if r.Namespace == "hostile" {
						mu.Lock()
						hanging++
						most = max(most, hanging)
						mu.Unlock()
						<-release
						mu.Lock()
						hanging--
						mu.Unlock()
					}
					mu.Lock()
					defer mu.Unlock()
					done[r.Namespace]++
				})
				for i := range 1000 {
					q.Add(request(fmt.Sprintf("hostile/%d", i)))
				}
				synctest.Wait()
				for i := range 100 {
					q.Add(request(fmt.Sprintf("victim/%d", i)))
				}
				synctest.Wait()
				mu.Lock()
				if hanging != row.hanging || done["victim"] != 100 || done["hostile"] != 0 {
					t.Errorf("%d hang, want %d; done are %v", hanging, row.hanging, done)
				}
				if got, want := testutil.ToFloat64(q.(*queue).waiting), float64(1000-row.hanging); got != want {
					t.Errorf("the metric counts %v that wait, want %v", got, want)
				}
				mu.Unlock()
				close(release)
				synctest.Wait()
				if done["hostile"] != 1000 || most != row.hanging {
					t.Errorf("done are %v, at most %d at a time", done, most)
				}
				q.ShutDown()
				all.Wait()
			})
		})
	}
}

// A key keeps its priority while it waits, and afterwards: controller-runtime requeues it with that.
func TestQueue_KeepsPriorities(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, workers := started(t, 1)
		var order []string
		turn := make(chan struct{})
		all := work(q, workers, func(r reconcile.Request, priority int) {
			<-turn
			order = append(order, fmt.Sprint(r.Name, " ", priority)) // One at a time, as they are of one namespace.
		})
		q.Add(request("a/first"))
		synctest.Wait()
		low := -100
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &low}, request("a/low"), request("a/raised"), request("a/lower"))
		synctest.Wait()
		q.Add(request("a/normal"))
		q.Add(request("a/raised")) // Somebody changed it.
		synctest.Wait()
		close(turn)
		synctest.Wait()
		if got, want := fmt.Sprint(order), "[first 0 raised 0 normal 0 low -100 lower -100]"; got != want {
			t.Errorf("the order is %s, want %s", got, want)
		}
		q.ShutDown()
		all.Wait()
	})
}

// Many namespaces at once, with keys that come again: no key is with two workers, none is lost, and all ends.
func TestQueue_ManyAtOnce(t *testing.T) {
	q, workers := started(t, 3)
	const namespaces, keys = 7, 50
	var mu sync.Mutex
	busy, seen, held := map[reconcile.Request]bool{}, map[reconcile.Request]bool{}, map[string]int{}
	var left sync.WaitGroup
	left.Add(namespaces * keys)
	all := work(q, workers, func(r reconcile.Request, _ int) {
		mu.Lock()
		defer mu.Unlock()
		if busy[r] {
			t.Errorf("%s is with two workers", r)
		}
		busy[r] = true
		if held[r.Namespace]++; held[r.Namespace] > workers/2 {
			t.Errorf("%s holds %d workers", r.Namespace, held[r.Namespace])
		}
		mu.Unlock()
		q.Add(request(r.Namespace + "/again"))
		mu.Lock()
		held[r.Namespace]--
		busy[r] = false
		if !seen[r] && r.Name != "again" {
			left.Done()
		}
		seen[r] = true
	})
	for n := range namespaces {
		go func() {
			for k := range keys {
				q.Add(request(fmt.Sprintf("ns-%d/%d", n, k)))
			}
		}()
	}
	left.Wait()
	q.ShutDown()
	all.Wait()
}
