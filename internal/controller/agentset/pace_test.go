/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// delays records with which delays requests are added.
type delays struct {
	queue
	added []time.Duration
}

func (d *delays) AddAfter(_ reconcile.Request, delay time.Duration) { d.added = append(d.added, delay) }

var _ workqueue.TypedRateLimitingInterface[reconcile.Request] = &delays{}

// After a pass the next one waits in proportion to the processor's time, not to that of a slow API server.
func TestRequestsDoNotDelayTheNextPass(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	var known memories
	key := types.NamespacedName{Namespace: "logging", Name: "logs"}
	watch := newStopwatch(clock)
	clock.Step(300 * time.Millisecond)
	for range 2 {
		if err := watch.requesting(func() error { clock.Step(10 * time.Second); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	known.of(key, "uid").took.Store(int64(watch.own()))
	d := &delays{}
	watches{memories: &known}.later(key, d)
	if want := passes * 300 * time.Millisecond; len(d.added) != 1 || d.added[0] != want {
		t.Errorf("the next pass starts after %v, want %s", d.added, want)
	}
}

// A process that was suspended within a pass soon makes the next one.
func TestASuspendedPassDelaysLittle(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	var known memories
	key := types.NamespacedName{Namespace: "logging", Name: "logs"}
	watch := newStopwatch(clock)
	clock.Step(time.Hour)
	known.of(key, "uid").took.Store(int64(watch.own()))
	d := &delays{}
	watches{memories: &known}.later(key, d)
	if most := 10 * time.Second; len(d.added) != 1 || d.added[0] > most {
		t.Errorf("the next pass starts after %v, want %s at most", d.added, most)
	}
}
