/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package schedule says when an Agent is checked next, and whether there is anything to do for it before. It is pure: the
// time and random numbers are part of its input.
package schedule

import (
	"time"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Limits are the durations from the operator's settings.
type Limits struct {
	// BackoffMin and BackoffMax bound the time between two tries.
	BackoffMin, BackoffMax time.Duration
	// OutageGrace is how long an outage does not show on an applied Agent.
	OutageGrace time.Duration
}

// QuietWait is the wait for the end of a quiet failure, such as a stale cache.
const QuietWait = 100 * time.Millisecond

// confirmDelay is the least wait for a snapshot to confirm an update when the rate limit is used up.
const confirmDelay = 2 * time.Second

// Timers are the state of an Agent's schedule between two checks. They are process-local: a new process checks all Agents
// within one interval.
type Timers struct {
	// Check is the time of the next check of the remote agent; zero before the first check of this process.
	Check time.Time
	// Read: the next check has to be a read. An older snapshot is not enough.
	Read bool
	// Retry is the time of the retry of a failed check; zero after a successful one.
	Retry time.Time
	// AnyChange: any event ends the backoff, not only a change of what the failure is about.
	AnyChange bool
	// Failures that count, consecutive, and the time of the first failure.
	Failures int
	Since    time.Time
	// Unwritten counts the consecutive failed writes of the status.
	Unwritten int
}

// Seen says how a check found the remote agent.
type Seen int

const (
	// NotSeen: not found.
	NotSeen Seen = iota
	// Read: by a read of the agent itself.
	Read
	// Listed: in a snapshot.
	Listed
	// Created: in the response to its registration, which does not show its health.
	Created
)

// Failure is the failure of a check.
type Failure struct {
	Class fault.Class
	// RetryAfter is the time until a retry makes sense; zero leaves it to the class.
	RetryAfter time.Duration
	// Quiet: it ends soon without user action.
	Quiet bool
	// Outage: the failure is not about the Agent itself.
	Outage bool
	// Unwatched: no event shows its end.
	Unwatched bool
}

// Facts are the input of Next.
type Facts struct {
	Now time.Time
	// Jitter is a random number from 0 to 1.
	Jitter float64
	Limits Limits
	// Interval between two checks.
	Interval time.Duration

	Seen Seen
	// SeenAt is when the snapshot was begun.
	SeenAt time.Time
	// Unfinished: the check did not complete.
	Unfinished bool
	// Confirm is the time until a snapshot shall confirm an update; zero for none.
	Confirm time.Duration
	// Failure of the check; nil for none.
	Failure *Failure
}

// Next returns the timers after a check, and whether a failure is in its grace period, in which an applied Agent does not
// show it.
func Next(before Timers, f Facts) (after Timers, grace bool) {
	after = before
	after.schedule(f)
	if f.Failure == nil {
		after.Failures, after.Since = 0, time.Time{}
		return after.Good(), false
	}
	if after.Since.IsZero() {
		after.Since = f.Now
	}
	after.Retry = f.Now.Add(after.wait(f))
	after.AnyChange = f.Failure.Class == fault.Waiting && f.Failure.RetryAfter == 0
	return after, f.Failure.Outage && f.Now.Sub(after.Since) < f.Limits.OutageGrace
}

// Good returns the timers after a successful check.
func (t Timers) Good() Timers {
	t.Retry, t.AnyChange = time.Time{}, false
	return t
}

// NotWritten returns the timers after a check whose status could not be written: its outcome is lost. Whoever writes the Agent all the
// time has each write conflict, and wakes it: without a backoff each of their writes would cause the same requests again.
func (t Timers) NotWritten(now time.Time, jitter float64, limits Limits) Timers {
	t.Unwritten++
	t.Retry, t.AnyChange = now.Add(fault.BackoffAt(t.Unwritten, QuietWait, limits.BackoffMax, jitter)), false
	return t
}

// schedule sets the time of the next check, with jitter so that Agents created together drift apart.
func (t *Timers) schedule(f Facts) {
	jitter := func(d time.Duration) time.Duration { return time.Duration(f.Jitter * float64(d)) }
	switch f.Seen {
	case Read:
		t.Check, t.Read = f.Now.Add(f.Interval*9/10+jitter(f.Interval/5)), false
	case Listed:
		// Soon after the snapshot of the next interval, so that one snapshot serves all.
		t.Check = f.SeenAt.Add(f.Interval + jitter(f.Interval/10))
	case Created:
		t.Check = f.Now.Add(f.Interval / 10)
	case NotSeen:
	}
	switch {
	case f.Confirm > 0:
		t.Check = f.Now.Add(f.Confirm)
	case f.Unfinished:
		t.Check, t.Read = f.Now, true
	}
}

// wait returns the time until a failed check is retried.
func (t *Timers) wait(f Facts) time.Duration {
	failure, backoff := f.Failure, func() time.Duration {
		t.Failures++
		return fault.BackoffAt(t.Failures, f.Limits.BackoffMin, f.Limits.BackoffMax, f.Jitter)
	}
	switch {
	case failure.Class == fault.Retryable && failure.Quiet:
		return max(failure.RetryAfter, fault.BackoffAt(1, QuietWait, QuietWait, f.Jitter))
	case failure.Class == fault.Retryable:
		return max(failure.RetryAfter, backoff())
	}
	if failure.Class == fault.Terminal {
		t.Failures = 0
	}
	switch {
	case failure.RetryAfter > 0:
		return failure.RetryAfter
	case failure.Unwatched:
		return backoff()
	default:
		return f.Interval
	}
}

// First spreads the checks of a process that just started over the whole interval.
func First(now time.Time, interval time.Duration, jitter float64) time.Time {
	return now.Add(time.Duration(jitter * float64(interval)))
}

// Confirm returns how long an update waits for a snapshot to confirm it if the rate limit has no read to spare: one
// snapshot confirms the updates of many Agents.
func Confirm(interval, snapshotTook time.Duration, jitter float64) time.Duration {
	delay := min(interval/10, max(confirmDelay, 10*snapshotTook))
	return delay + time.Duration(jitter*float64(delay))
}

// Requeue returns the time until the Agent is requeued. Requeued Agents have a low priority.
func (t Timers) Requeue(now time.Time) time.Duration {
	switch {
	case !t.Retry.IsZero():
		return max(t.Retry.Sub(now), time.Millisecond)
	default:
		return max(t.Check.Sub(now), time.Millisecond)
	}
}

// Due reports whether a check of the remote agent is due.
func (t Timers) Due(now time.Time) bool { return !now.Before(t.Check) }

// InBackoff reports whether a failure is in backoff, and nothing changed that it is about. The operator's own writes wake
// an Agent, too: without a backoff a failure would be retried at full speed.
func (t Timers) InBackoff(now time.Time, changed bool) bool {
	return t.Retry.After(now) && !t.AnyChange && !changed
}
