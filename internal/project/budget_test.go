/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project_test

import (
	"fmt"
	"math/rand/v2"
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
	w.expectWait("f", time.Second) // No more than the burst is saved up, not for those in line either.
}

// What is admitted evenly does not reach the service so.
func TestAQuarterOfTheBurstIsKeptBack(t *testing.T) {
	for burst, want := range map[int32]int{1: 1, 3: 3, 4: 3, 20: 15, 10_000: 7_500} {
		w := proved(t, cloudtest.Settings{})
		w.limit(1, burst)
		admitted := 0
		for w.waits(types.UID(fmt.Sprint(admitted))) == 0 {
			admitted++
		}
		if admitted != want {
			t.Errorf("%d calls at once with a burst of %d, want %d", admitted, burst, want)
		}
	}
}

func TestManyAreServedAtTheRate(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(10, 20)
	waiting := map[types.UID]bool{}
	for i := range 100 {
		waiting[types.UID(fmt.Sprint(i))] = true
	}
	for second := range 10 {
		for who := range waiting {
			if w.waits(who) == 0 {
				delete(waiting, who)
			}
		}
		if want := max(100-15-second*10, 0); len(waiting) != want {
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
	w.expectWait("c", time.Second)
	w.expectWait("b", 2*time.Second) // Back as somebody new, behind c.
}

// Those for whom nothing is left at their time come back one after the other: together they would ask all the time.
func TestWhoComesLateDoesNotAskAllTheTime(t *testing.T) {
	const perSecond, many = 10, 200
	w := proved(t, cloudtest.Settings{})
	w.limit(perSecond, 1)
	due := map[types.UID]time.Time{}
	for i := range many {
		who := types.UID(fmt.Sprint(i))
		due[who] = w.clock.Now().Add(w.waits(who))
	}
	w.clock.Step(many / perSecond * time.Second) // So long nobody came.
	asked := 0
	for len(due) > 0 {
		for who, at := range due {
			if now := w.clock.Now(); !at.After(now) {
				asked++
				if wait := w.waits(who); wait > 0 {
					due[who] = now.Add(wait)
				} else {
					delete(due, who)
				}
			}
		}
		w.clock.Step(time.Second / perSecond)
	}
	if asked > 3*many {
		t.Errorf("%d asked %d times", many, asked)
	}
}

func TestWhatIsSpareTakesNoPlace(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(1, 2)
	for _, want := range []bool{true, true, false} {
		if got := w.Spare(); got != want {
			t.Fatalf("spare is %v", got)
		}
		w.waits("a")
	}
	w.clock.Step(1500 * time.Millisecond)
	w.expectWait("a", 0)
	if w.Spare() {
		t.Error("what is left of a call counts as one")
	}
	w.limit(0, 1)
	w.expectWait("a", 0)
	if !w.Spare() {
		t.Error("without a limit there is nothing to spare")
	}
}

// Whenever they come back, on time, early or late, no window has more calls than its share and the burst.
func TestTheRateIsNeverExceeded(t *testing.T) {
	const perSecond, burst = 20, 5
	w := proved(t, cloudtest.Settings{})
	w.limit(perSecond, burst)
	random := rand.New(rand.NewPCG(1, 2))
	began, due := w.clock.Now(), map[types.UID]time.Time{}
	for i := range 500 {
		due[types.UID(fmt.Sprint(i))] = began
	}
	var calls []time.Time
	for len(due) > 0 {
		w.clock.Step(time.Duration(random.IntN(200)) * time.Millisecond) // Workers that are busy elsewhere come late.
		now := w.clock.Now()
		for who, at := range due {
			if at.After(now) {
				continue
			}
			if wait := w.waits(who); wait > 0 {
				due[who] = now.Add(wait)
				continue
			}
			calls = append(calls, now)
			delete(due, who)
		}
	}
	for i := range calls {
		for j := i; j < len(calls); j++ {
			if share := perSecond*calls[j].Sub(calls[i]).Seconds() + burst; float64(j-i+1) > share+1e-6 {
				t.Fatalf("%d calls in %s, want at most %.1f", j-i+1, calls[j].Sub(calls[i]), share)
			}
		}
	}
	if took, least := calls[len(calls)-1].Sub(began), time.Duration(500/perSecond)*time.Second; took > least*11/10 {
		t.Errorf("it took %s, and would have been possible in %s", took, least)
	}
}

// A tenant that creates and deletes Agents all the time must not lengthen the line for those who stay.
func TestPlacesOfThoseWhoLeave_HoldUpNobody(t *testing.T) {
	w := proved(t, cloudtest.Settings{})
	w.limit(1, 1)
	w.expectWait("first", 0)
	w.expectWait("waits already", time.Second)
	for i := range 100 {
		churned := types.UID(fmt.Sprint("churned-", i))
		w.expectWait(churned, 2*time.Second)
		w.Leave(churned)
	}
	w.expectWait("victim", 2*time.Second)
	w.expectWait("behind", 3*time.Second)
	w.Leave("waits already")
	w.expectWait("victim", 2*time.Second) // A place is kept.
	w.clock.Step(2 * time.Second)
	w.expectWait("victim", 0)
	w.Leave("victim")
	w.Leave("victim")
	w.Leave("never seen")
	w.expectWait("newcomer", 2*time.Second) // Whoever comes now stays behind those in line.
}
