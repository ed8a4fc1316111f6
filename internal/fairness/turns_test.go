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
	"time"

	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// With at least as many namespaces with hanging requests as workers, all take turns, whatever the priority: a check and a retry
// have a low one, and whoever changes objects has them queued with a higher one.
func TestQueue_MoreNamespacesThanWorkers_AllTakeTurns(t *testing.T) {
	for _, row := range []struct {
		name     string
		priority int
	}{{"an event of the victim", 0}, {"a retry of the victim", handler.LowPriority}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, workers := started(t, 2)
				var mu sync.Mutex
				turns, served := 0, 0
				all := work(q, workers, func(r reconcile.Request, _ int) {
					hostile := r.Namespace != "victim"
					if hostile {
						<-time.After(15 * time.Second) // A request that gets no response.
						q.Add(r)                       // Its owner changes it.
					}
					mu.Lock()
					defer mu.Unlock()
					if hostile {
						turns++
					} else {
						served++
					}
				})
				for namespace := range workers {
					for i := range 3 {
						q.Add(request(fmt.Sprintf("hostile-%d/%d", namespace, i)))
					}
				}
				synctest.Wait()
				q.AddWithOpts(priorityqueue.AddOpts{Priority: &row.priority}, request("victim/a"))
				<-time.After(time.Hour)
				synctest.Wait()
				mu.Lock()
				if served == 0 {
					t.Errorf("within an hour the hostile namespaces had %d turns, and the victim none", turns)
				}
				mu.Unlock()
				q.ShutDown()
				all.Wait()
			})
		})
	}
}
