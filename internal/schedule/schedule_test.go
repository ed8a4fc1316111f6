/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package schedule

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const interval = 20 * time.Minute

var (
	noon   = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	limits = Limits{BackoffMin: time.Second, BackoffMax: 5 * time.Minute, OutageGrace: 15 * time.Minute}
)

func in(d time.Duration) time.Time { return noon.Add(d) }

func TestNext_Check(t *testing.T) {
	before := Timers{Check: in(7 * time.Minute), Read: true}
	for _, row := range []struct {
		name        string
		facts       Facts
		least, most time.Duration
		read        bool
	}{
		{"not seen: as before", Facts{}, 7 * time.Minute, 7 * time.Minute, true},
		{"read", Facts{Seen: Read}, interval * 9 / 10, interval * 11 / 10, false},
		{"in a snapshot of before", Facts{Seen: Listed, SeenAt: in(-time.Minute)}, interval - time.Minute, interval*11/10 - time.Minute, true},
		{"registered: its health is not known", Facts{Seen: Created}, interval / 10, interval / 10, true},
		{"read, and not acted on", Facts{Seen: Read, Unfinished: true}, 0, 0, true},
		{"sent, and not read back", Facts{Unfinished: true}, 0, 0, true},
		{"sent, for a snapshot to confirm", Facts{Confirm: time.Minute}, time.Minute, time.Minute, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, jitter := range []float64{0, 0.5, 1} {
				f := row.facts
				f.Now, f.Jitter, f.Interval, f.Limits = noon, jitter, interval, limits
				after, _ := Next(before, f)
				if got := after.Check.Sub(noon); got < row.least || got > row.most {
					t.Errorf("jitter %v: after %s, want %s to %s", jitter, got, row.least, row.most)
				}
				if after.Read != row.read {
					t.Errorf("by a read: %v", after.Read)
				}
			}
		})
	}
}

func TestNext_Retry(t *testing.T) {
	retryable := Failure{Class: fault.Retryable, Outage: true}
	waiting, terminal := Failure{Class: fault.Waiting}, Failure{Class: fault.Terminal}
	after := func(f Failure, d time.Duration) Failure { f.RetryAfter = d; return f }
	outage := func(f Failure) Failure { f.Outage = true; return f }
	quiet := retryable
	quiet.Quiet = true
	unwatched := waiting
	unwatched.Unwatched = true
	long, short := in(-15*time.Minute), in(-15*time.Minute+time.Second)
	for _, row := range []struct {
		name        string
		failures    int
		since       time.Time
		failure     Failure
		least, most time.Duration
		after       int
		grace       bool
		anyChange   bool
	}{
		{"the first try that failed", 0, time.Time{}, retryable, time.Second / 2, time.Second, 1, true, false},
		{"the fifth one", 4, short, retryable, 8 * time.Second, 16 * time.Second, 5, true, false},
		{"one after the grace", 40, long, retryable, 150 * time.Second, 5 * time.Minute, 41, false, false},
		{"one that says when, later than we would", 0, time.Time{}, after(retryable, time.Minute), time.Minute, time.Minute, 1, true, false},
		{"one that says when, sooner than we would", 40, long, after(retryable, time.Second), 150 * time.Second, 5 * time.Minute, 41, false, false},
		{"a quiet one does not count", 3, short, quiet, QuietWait / 2, QuietWait, 3, true, false},
		{"user action is required: no grace, a slow check now and then", 3, short, terminal, interval, interval, 0, false, false},
		{"user action is required, and it says when", 0, time.Time{}, after(terminal, time.Minute), time.Minute, time.Minute, 0, false, false},
		{"a watch ends it", 2, short, waiting, interval, interval, 2, false, true},
		{"it ends at a known time", 0, time.Time{}, after(waiting, time.Minute), time.Minute, time.Minute, 0, false, false},
		{"a CloudProject that is not Ready is an outage", 0, time.Time{}, outage(waiting), interval, interval, 0, true, true},
		{"so is a rate limit", 0, short, after(outage(waiting), time.Minute), time.Minute, time.Minute, 0, true, false},
		{"an outage that lasts is shown", 0, long, outage(waiting), interval, interval, 0, false, true},
		{"no watch ends it", 1, short, unwatched, time.Second, 2 * time.Second, 2, false, true},
		{"no watch ends it, and it says when", 1, short, after(unwatched, time.Minute), time.Minute, time.Minute, 1, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, jitter := range []float64{0, 0.5, 0.999} {
				f := Facts{Now: noon, Jitter: jitter, Interval: interval, Limits: limits, Failure: &row.failure}
				got, grace := Next(Timers{Failures: row.failures, Since: row.since}, f)
				if wait := got.Retry.Sub(noon); wait < row.least || wait > row.most {
					t.Errorf("after %s, want between %s and %s", wait, row.least, row.most)
				}
				if since := row.since; got.Failures != row.after || !since.IsZero() && got.Since != since || since.IsZero() && got.Since != noon {
					t.Errorf("%d failures since %s", got.Failures, got.Since)
				}
				if grace != row.grace || got.AnyChange != row.anyChange {
					t.Errorf("grace %v, any change ends it: %v", grace, got.AnyChange)
				}
				f.Failure = nil
				if good, grace := Next(got, f); grace || good.Failures != 0 || !good.Since.IsZero() || !good.Retry.IsZero() || good.AnyChange {
					t.Errorf("a success does not clear it: %+v", good)
				}
			}
		})
	}
}

// Each invariant holds for every combination of facts.
func TestNext_EveryCombination(t *testing.T) {
	var failures []*Failure
	failures = append(failures, nil)
	for _, class := range []fault.Class{fault.Terminal, fault.Waiting, fault.Retryable} {
		for i := range 16 {
			f := &Failure{Class: class, Quiet: i&1 > 0, Outage: i&2 > 0, Unwatched: i&4 > 0}
			if i&8 > 0 {
				f.RetryAfter = time.Minute
			}
			failures = append(failures, f)
		}
	}
	count := 0
	for _, before := range []Timers{{}, {Check: in(-1)}, {Check: in(time.Hour), Read: true}, {Check: noon, Retry: in(1), Failures: 20, Since: in(-time.Hour), Unwritten: 2}} {
		for _, seen := range []Seen{NotSeen, Read, Listed, Created} {
			for _, unfinished := range []bool{false, true} {
				for _, confirm := range []time.Duration{0, time.Minute} {
					for _, failure := range failures {
						for _, jitter := range []float64{0, 0.3, 1} {
							count++
							f := Facts{Now: noon, Jitter: jitter, Limits: limits, Interval: interval, Seen: seen, SeenAt: in(-time.Second), Unfinished: unfinished, Confirm: confirm, Failure: failure}
							after, grace := Next(before, f)
							again, _ := Next(before, f)
							for _, invariant := range []struct {
								name  string
								holds bool
							}{
								{"the same facts give the same times", reflect.DeepEqual(after, again)},
								{"what is unfinished is checked at once, by a read", !unfinished || confirm > 0 || after.Read && after.Due(noon)},
								{"a failure is retried, later", failure == nil || after.Retry.After(noon)},
								{"not later than an interval, or than it says", after.Retry.Sub(noon) <= max(interval, time.Minute)},
								{"without a failure nothing is retried", failure != nil || after.Retry.IsZero()},
								{"what was seen is not checked at once", seen == NotSeen || unfinished || confirm > 0 || !after.Due(noon)},
								{"only an outage has a grace", !grace || failure.Outage},
								{"it always comes back", after.Requeue(noon) > 0},
								{"it does not come back in a loop", failure == nil || after.Requeue(noon) >= QuietWait/2},
							} {
								if !invariant.holds {
									t.Fatalf("%s: %+v of %+v and %+v (%+v)", invariant.name, after, before, f, failure)
								}
							}
						}
					}
				}
			}
		}
	}
	if count < 1000 {
		t.Errorf("only %d combinations", count)
	}
}

func TestRequeue(t *testing.T) {
	for _, row := range []struct {
		name        string
		timers      Timers
		least, most time.Duration
	}{
		{"the next check", Timers{Check: in(time.Hour)}, time.Hour, time.Hour},
		{"a check that is due", Timers{Check: in(-time.Hour)}, time.Millisecond, time.Millisecond},
		{"a failure comes before the check", Timers{Check: in(-time.Hour), Retry: in(time.Minute)}, time.Minute, time.Minute},
		{"even if the status was written for longer", Timers{Check: in(time.Hour), Retry: in(-time.Minute)}, time.Millisecond, time.Millisecond},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.timers.Requeue(noon); got < row.least || got > row.most {
				t.Errorf("%s, want between %s and %s", got, row.least, row.most)
			}
		})
	}
}

func TestNotWritten_ComesBackLaterEachTime_UnlessSomethingChanges(t *testing.T) {
	for _, jitter := range []float64{0, 0.5, 0.999} {
		timers, least := Timers{Check: in(time.Hour), AnyChange: true}, QuietWait/2
		for range 8 {
			timers = timers.NotWritten(noon, jitter, limits)
			if got := timers.Requeue(noon); got < least || got > 2*least {
				t.Errorf("%s, want between %s and %s", got, least, 2*least)
			}
			if !timers.InBackoff(noon, false) || timers.InBackoff(noon, true) {
				t.Error("only what the outcome depends on may end the wait")
			}
			least *= 2
		}
	}
}

func TestInBackoff(t *testing.T) {
	for _, row := range []struct {
		name    string
		timers  Timers
		changed bool
		want    bool
	}{
		{"no failure", Timers{}, false, false},
		{"before its time", Timers{Retry: in(1)}, false, true},
		{"in time", Timers{Retry: noon}, false, false},
		{"what it is about changed", Timers{Retry: in(1)}, true, false},
		{"anything ends it", Timers{Retry: in(1), AnyChange: true}, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := row.timers.InBackoff(noon, row.changed); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// Each single fact keeps an Agent from being up to date.
func TestUpToDate_EachFactCounts(t *testing.T) {
	good := Standing{Ready: true, Registered: true, Fenced: true, Applied: true, Handled: true, Written: true, SecretsKept: true, SameEndpoint: true}
	if !good.UpToDate() {
		t.Fatal("an Agent with nothing to do is not up to date")
	}
	flipped(t, good, func(s Standing) bool { return s.UpToDate() })
}

func TestSnapshotSuffices_EachFactCounts(t *testing.T) {
	good := Checking{Verified: true, Applied: true, Handled: true}
	if !good.SnapshotSuffices() {
		t.Fatal("a snapshot never suffices")
	}
	flipped(t, good, func(c Checking) bool { return c.SnapshotSuffices() })
}

// flipped expects that each field, flipped alone, changes the decision.
func flipped[T any](t *testing.T, good T, decide func(T) bool) {
	for i := range reflect.TypeOf(good).NumField() {
		bad := good
		field := reflect.ValueOf(&bad).Elem().Field(i)
		field.SetBool(!field.Bool())
		if decide(bad) {
			t.Errorf("%s does not count", reflect.TypeOf(good).Field(i).Name)
		}
	}
}

func TestFirstAndConfirm_SpreadWithinBounds(t *testing.T) {
	for _, row := range []struct {
		took time.Duration
		want [2]time.Duration
	}{
		{0, [2]time.Duration{2 * time.Second, 4 * time.Second}},
		{time.Second, [2]time.Duration{10 * time.Second, 20 * time.Second}},
		{time.Hour, [2]time.Duration{2 * time.Minute, 4 * time.Minute}},
	} {
		got := [2]time.Duration{Confirm(interval, row.took, 0), Confirm(interval, row.took, 1)}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("a snapshot that took %s, -want +got:\n%s", row.took, diff)
		}
	}
	if a, b := First(noon, interval, 0), First(noon, interval, 1); !a.Equal(noon) || !b.Equal(in(interval)) {
		t.Error(fmt.Sprint(a, b))
	}
}
