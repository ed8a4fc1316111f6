/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package fairness shares the workers of a controller among namespaces, so that hanging requests of one namespace do not
// block the objects of others.
//
// The rule: a namespace gets another worker while it has none, or fewer than are free.
//
// Of 2n workers a namespace alone gets n, so WithFairness makes their number 2n. The last free worker goes only to a
// namespace without any: as long as fewer namespaces than workers have hanging requests, a further namespace gets a worker
// immediately, or as soon as a namespace with several workers releases one. With more of them, all namespaces take turns.
package fairness

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// waiting is for the whole process, like the workqueue_* metrics, which do not count the keys that wait here.
var waiting = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "calyptia_agent_operator_waiting_for_worker",
	Help: "Objects that wait until their namespace gets a worker, by controller.",
}, []string{"name"})

// RegisterMetrics registers the metric of all queues.
func RegisterMetrics(registerer prometheus.Registerer) error { return registerer.Register(waiting) }

// WithFairness returns the options of a controller that works on at most MaxConcurrentReconciles objects of a namespace
// at a time, and runs as many workers again for other namespaces.
func WithFairness(options controller.Options) controller.Options {
	workers := 2 * max(options.MaxConcurrentReconciles, 1)
	options.MaxConcurrentReconciles = workers
	options.NewQueue = func(
		name string, limiter workqueue.TypedRateLimiter[reconcile.Request],
	) workqueue.TypedRateLimitingInterface[reconcile.Request] {
		return newQueue(priorityqueue.New(name, func(o *priorityqueue.Opts[reconcile.Request]) {
			o.RateLimiter = limiter
		}), workers, waiting.WithLabelValues(name))
	}
	return options
}

// queue is a priority queue that returns no key of a namespace that has its share of the workers. Such a key waits in the
// queue, not in a worker, until its namespace gets a worker.
type queue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	mu      sync.Mutex
	places  *places
	waiting prometheus.Gauge
	sorted  sync.Once
	ready   chan prioritized // has room for a key of each worker
}

// prioritized is a key that has a worker.
type prioritized struct {
	request  reconcile.Request
	priority int
}

func newQueue(inner priorityqueue.PriorityQueue[reconcile.Request], workers int, waiting prometheus.Gauge) *queue {
	return &queue{
		PriorityQueue: inner, places: newPlaces(workers), waiting: waiting, ready: make(chan prioritized, workers),
	}
}

// GetWithPriority waits for a key that may be reconciled.
func (q *queue) GetWithPriority() (reconcile.Request, int, bool) {
	q.sorted.Do(func() { go q.sort() })
	next, more := <-q.ready
	return next.request, next.priority, !more || q.ShuttingDown()
}

// sort takes all keys out of the inner queue, even while no worker is free: a released worker can then go to any namespace.
func (q *queue) sort() {
	defer close(q.ready)
	for {
		request, priority, shutdown := q.PriorityQueue.GetWithPriority()
		switch {
		case shutdown:
			return
		case q.enter(request, priority):
			q.ready <- prioritized{request, priority}
		default:
			// A waiting key is not locked: an event with a higher priority is returned, and raises it.
			q.PriorityQueue.Done(request)
		}
	}
}

// Get is GetWithPriority without the priority.
func (q *queue) Get() (reconcile.Request, bool) {
	request, _, shutdown := q.GetWithPriority()
	return request, shutdown
}

// Done releases the worker of a key, and requeues the keys that get it.
func (q *queue) Done(request reconcile.Request) {
	q.PriorityQueue.Done(request)
	for _, next := range q.leave(request.Namespace) {
		q.AddWithOpts(priorityqueue.AddOpts{Priority: &next.priority}, reconcile.Request{NamespacedName: next.key})
	}
}

func (q *queue) enter(request reconcile.Request, priority int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.count()
	return q.places.enter(request.NamespacedName, priority)
}

func (q *queue) leave(namespace string) []waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	defer q.count()
	return q.places.leave(namespace)
}

// count sets the metric; the caller holds the lock.
func (q *queue) count() { q.waiting.Set(float64(q.places.lines)) }
