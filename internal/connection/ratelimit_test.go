/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// waits returns the wait of a caller; zero if it gets a permit.
func (w *world) waits(who types.UID) time.Duration {
	w.Helper()
	return w.waitsIn("default", who)
}

func (w *world) waitsIn(namespace string, who types.UID) time.Duration {
	w.Helper()
	permit, err := w.Acquire(ratelimit.Caller{UID: who, Namespace: namespace})
	if err == nil {
		permit.Release()
		return 0
	}
	f := w.failure(err, v1alpha1.ReasonRateLimited)
	if !f.Quiet {
		w.Error("a condition would report the rate limit")
	}
	return f.RetryAfter
}

func (w *world) expectWait(who types.UID, want time.Duration) {
	w.Helper()
	if got := w.waits(who).Round(time.Millisecond); got != want {
		w.Errorf("%s waits %s, want %s", who, got, want)
	}
}

func TestAnExhaustedRateLimitKeepsReservations(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
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

// Requests that leave evenly do not arrive evenly.
func TestAQuarterOfTheBurstIsReserved(t *testing.T) {
	for burst, want := range map[int32]int{1: 1, 3: 3, 4: 3, 20: 15, 10_000: 7_500} {
		w := verified(t, cloudtest.Settings{})
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

func TestManyCallersAreServedAtTheRate(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
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
	w := verified(t, cloudtest.Settings{})
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

func TestACallerThatLeavesDropsItsReservation(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.limit(1, 1)
	w.expectWait("a", 0)
	w.expectWait("b", time.Second)
	w.Leave("b")
	w.expectWait("c", time.Second) // It has moved up.
	w.clock.Step(time.Second)
	w.expectWait("b", time.Second) // Back as somebody new, behind c, for whom there is a call.
	w.expectWait("c", 0)
}

// Callers that get no token at their retry time retry one after the other, not all at once.
func TestALateCallerDoesNotRetryConstantly(t *testing.T) {
	const perSecond, many = 10, 200
	w := verified(t, cloudtest.Settings{})
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

func TestASpareRequestNeedsNoReservation(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
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

// Whether callers retry on time, early or late, no window has more requests than its share and the burst.
func TestTheRateIsNeverExceeded(t *testing.T) {
	const perSecond, burst = 20, 5
	w := verified(t, cloudtest.Settings{})
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

// Many wait in one namespace. The only Agent of another waits for one of their requests, and for no more.
func TestManyOfOneNamespaceDelayAnotherByItsShare(t *testing.T) {
	const many, perSecond = 2000, 10
	for _, row := range []struct {
		name string
		few  int
		most time.Duration // until all few are served
	}{
		{"one Agent", 1, 300 * time.Millisecond},
		{"its own share for many", 50, 2*50*time.Second/perSecond + time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.limit(perSecond, 1)
			due, spaces := map[types.UID]time.Time{}, map[types.UID]string{}
			ask := func(namespace string, number int) {
				who := types.UID(fmt.Sprint(namespace, number))
				spaces[who] = namespace
				if wait := w.waitsIn(namespace, who); wait > 0 {
					due[who] = w.clock.Now().Add(wait)
				}
			}
			for i := range many {
				ask("many", i)
			}
			for i := range row.few {
				ask("few", i)
			}
			began, asked, served := w.clock.Now(), 0, 0
			for left := row.few; left > 0; {
				w.clock.Step(5 * time.Millisecond)
				now := w.clock.Now()
				for who, at := range due {
					if at.After(now) {
						continue
					}
					asked++
					if wait := w.waitsIn(spaces[who], who); wait > 0 {
						due[who] = now.Add(wait)
						continue
					}
					served++
					delete(due, who)
					if spaces[who] == "few" {
						left--
					}
				}
				if took := now.Sub(began); took > row.most {
					t.Fatalf("after %s %d of %d wait", took, left, row.few)
				}
			}
			took := w.clock.Since(began)
			if least := int(took.Seconds()*perSecond) - 2; served < least {
				t.Errorf("%d calls in %s, want %d", served, took, least)
			}
			if asked > 3*served+3 {
				t.Errorf("asked %d times for %d calls", asked, served)
			}
		})
	}
}

// Agents that are created and deleted at once delay nobody: neither those that leave, nor those that never return.
func TestTheReservationsOfDeletedAgentsAreFree(t *testing.T) {
	for _, row := range []struct {
		name   string
		leaves bool
		quiet  time.Duration
		most   time.Duration
	}{
		{"deleted at once", true, 0, 100 * time.Millisecond},
		{"never back", false, 5*time.Minute + 30*time.Second + 3*time.Minute, 100 * time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.limit(10, 1)
			for i := range 60 * 50 {
				who := types.UID(fmt.Sprint(i))
				w.waits(who)
				if row.leaves {
					w.Leave(who)
				}
			}
			w.clock.Step(row.quiet)
			if wait := w.waits("bystander"); wait > row.most {
				t.Errorf("a bystander waits %s", wait)
			}
			if wait := w.waits("another"); wait > row.most+100*time.Millisecond {
				t.Errorf("the next one waits %s", wait)
			}
		})
	}
}

// A caller with a long wait retries early enough to see that others left.
func TestALongWaiterSeesThatOthersLeft(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.limit(1, 1)
	for i := range 200 {
		w.waits(types.UID(fmt.Sprint(i)))
	}
	wait := w.waits("last")
	if wait > 101*time.Second {
		t.Fatalf("it waits %s", wait)
	}
	for i := range 200 {
		w.Leave(types.UID(fmt.Sprint(i)))
	}
	w.clock.Step(wait)
	w.expectWait("last", 0)
}
