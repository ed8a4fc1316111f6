/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// waits says how long somebody is told to wait; zero if they are admitted.
func (w *world) waits(who types.UID) time.Duration {
	w.Helper()
	ticket, err := w.Admit(who)
	if err == nil {
		ticket.Release()
		return 0
	}
	f := w.failure(err, v1alpha1.ReasonRateLimited)
	if !f.Quiet {
		w.Error("a condition would tell of the rate limit")
	}
	return f.RetryAfter
}

func (w *world) expectWait(who types.UID, want time.Duration) {
	w.Helper()
	if got := w.waits(who).Round(time.Millisecond); got != want {
		w.Errorf("%s waits %s, want %s", who, got, want)
	}
}

func TestABudgetThatIsSpentKeepsPlaces(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(1, 2)
	w.expectWait("a", 0)
	w.expectWait("b", 0)
	w.expectWait("c", time.Second)
	w.expectWait("d", 2*time.Second)
	w.expectWait("c", time.Second) // Asking again costs nothing.
	w.clock.Step(time.Second)
	w.expectWait("c", 0)
	w.expectWait("d", time.Second) // Nobody else came first.
	w.expectWait("c", 2*time.Second)
	w.clock.Step(time.Hour)
	w.expectWait("d", 0)
	w.expectWait("e", 0)
	w.expectWait("f", 0)
	w.expectWait("g", time.Second) // No more than the burst is saved up.
}

func TestManyAreServedAtTheRate(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(10, 20)
	waiting := map[types.UID]bool{}
	for i := range 100 {
		waiting[types.UID(fmt.Sprint(i))] = true
	}
	for second := range 9 {
		for who := range waiting {
			if w.waits(who) == 0 {
				delete(waiting, who)
			}
		}
		if want := max(100-20-second*10, 0); len(waiting) != want {
			t.Fatalf("after %d seconds %d wait, want %d", second, len(waiting), want)
		}
		w.clock.Step(time.Second)
	}
}

func TestALimitCanBeChangedAndLifted(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(1, 1)
	w.expectWait("a", 0)
	w.expectWait("b", time.Second)
	w.limit(1, 1) // The same: what is spent stays spent.
	w.expectWait("c", 2*time.Second)
	w.limit(0, 1)
	for range 1000 {
		w.expectWait("a", 0)
	}
}

func TestWhoLeavesGivesUpTheirPlace(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(1, 1)
	w.expectWait("a", 0)
	w.expectWait("b", time.Second)
	w.Leave("b")
	w.clock.Step(time.Second)
	w.expectWait("b", time.Second) // Back as somebody new.
}
