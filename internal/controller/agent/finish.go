/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// finisher turns the outcome of a reconciliation into conditions, one status write, events and the time of the next check.
type finisher struct{ *task }

func (f finisher) finish(ctx context.Context, err error) (ctrl.Result, error) {
	f.endTurn(err)
	if f.Released || err == nil && f.Deleting() {
		return f.finishReleased(ctx)
	}
	sent := f.Writes.Sent
	forgets := sent != nil && remoteagent.Fence{Task: f.Task}.Forgets(sent)
	if sent != nil && !forgets {
		f.Writes.Sent = f.Agent
	}
	redactor := remoteagent.Redactor{Task: f.Task}
	failure := redactor.Redacted(ctx, agentstatus.Classify(err))
	now := f.Clock.Now()
	grace := f.schedule(ctx, failure, now)
	seen := cmp.Or(f.Remote, f.Listed)
	agentstatus.Conclude(f.Agent, agentstatus.Outcome{
		Failure: failure, Grace: grace, Unfinished: f.unapplied(), Missing: f.Missing, Remote: seen, Now: now,
		ReadOnly: f.Settings.ReadOnly, OwnCA: f.ownCA(), Hide: redactor.Hide,
	})
	remoteagent.Names{Task: f.Task}.Show()
	if seen != nil && (failure == nil || !failure.Quiet) {
		f.reconciler.Metrics.Observed(f.Key(), seen.LastMetricsAddedAt)
	}
	f.delayVolatile(now)

	write, cancel := remoteagent.Detach(ctx)
	defer cancel()
	learned := f.Agent.Status.ID != f.Base.Status.ID || f.Agent.Status.RegistrationIntent != f.Base.Status.RegistrationIntent
	if ctx.Err() != nil && !learned {
		return ctrl.Result{}, nil // Shutting down: the next leader repeats the reconciliation.
	}
	err = f.WriteStatus(write)
	if err == nil && !f.Removed && !f.Open() && !forgets {
		f.Writes.Sent = nil
	}
	if apiserver.IgnoreGone(err) != nil {
		return f.unwritten(ctx, now, err)
	}
	f.Known.Timers.Unwritten = 0
	f.emit(ctx)
	f.log(ctx, failure, grace)
	return f.sleep()
}

// unwritten ends a reconciliation whose status could not be written. Only the log can show that.
func (f finisher) unwritten(ctx context.Context, now time.Time, err error) (ctrl.Result, error) {
	f.Known.Timers = f.Known.Timers.NotWritten(now, rand.Float64(), f.Settings.Limits())
	f.log(ctx, agentstatus.Classify(err), false)
	return f.sleep()
}

// endTurn ends the requests of the reconciliation. If the rate limit, a list or a record ended it, what it saw counts in the next.
func (f finisher) endTurn(err error) {
	failure := agentstatus.Classify(err)
	goesOn := failure != nil &&
		(failure.Code == fault.Throttled || failure.Code == fault.Unrecorded || f.Project != nil && failure.Quiet)
	var returnsTo *connection.Connection
	if goesOn && f.CloudProject != nil {
		returnsTo = f.Projects.Lookup(f.CloudProject.UID)
	}
	if !goesOn {
		f.Projects.EndTurn(f.Agent.UID)
	}
	f.Projects.Unreserve(f.Agent.UID, returnsTo)
}

// finishReleased ends the reconciliation of an Agent that was released.
func (f finisher) finishReleased(ctx context.Context) (ctrl.Result, error) {
	f.emit(ctx)
	if f.Removed {
		f.reconciler.forget(f.Key())
		return ctrl.Result{RequeueAfter: time.Millisecond}, nil // There may be a new Agent of the name.
	}
	if !f.held() {
		return ctrl.Result{}, nil
	}
	now := f.Clock.Now()
	if f.Known.Timers.Unwritten > 0 && f.Known.Timers.Retry.After(now) {
		return f.sleep()
	}
	agentstatus.Released(f.Agent)
	write, cancel := remoteagent.Detach(ctx)
	defer cancel()
	if err := f.WriteStatus(write); apiserver.IgnoreGone(err) != nil {
		return f.unwritten(ctx, now, err)
	}
	f.Known.Timers.Unwritten = 0
	return ctrl.Result{}, nil
}

// held reports whether finalizers of others keep a released Agent, not only for as long as its Secrets are collected.
func (f finisher) held() bool {
	return slices.ContainsFunc(f.Agent.Finalizers, func(name string) bool {
		return name != metav1.FinalizerDeleteDependents && name != metav1.FinalizerOrphanDependents
	})
}

// outages are what keeps the operator from checking an Agent, and shows nothing of its remote agent.
var outages = []fault.Code{fault.ProjectNotReady, fault.Throttled, fault.Unreachable, fault.KindRejected}

// schedule sets the next check; nothing else does. It reports whether an applied Agent does not show the failure yet.
func (f finisher) schedule(ctx context.Context, failure *fault.Error, now time.Time) (grace bool) {
	delayed := len(f.Known.Updates.Delayed) > 0
	facts := schedule.Facts{
		Now: now, Jitter: rand.Float64(), Limits: f.Settings.Limits(), Interval: f.Interval(ctx),
		Seen: f.Seen, SeenAt: f.SeenAt, Confirm: f.Confirm,
		Unfinished: f.Unfinished || failure != nil && !f.Checked && (f.Remote != nil && !f.Created && !delayed || f.Remote == nil && f.Reread),
	}
	if failure != nil {
		facts.Failure = &schedule.Failure{
			Class: failure.Class, RetryAfter: failure.RetryAfter, Quiet: failure.Quiet, Unwatched: f.Removed,
			Outage: failure.Class == fault.Retryable && failure.Code != fault.RemoteMissing || slices.Contains(outages, failure.Code),
		}
	}
	f.Known.Timers, grace = schedule.Next(f.Known.Timers, facts)
	f.Known.BackoffFor = f.fingerprint
	return grace
}

// unapplied reports whether this generation was applied and is not any more: the source of its configuration changed, or
// something was sent that no read has confirmed. An outage has no grace then.
func (f finisher) unapplied() bool {
	if len(f.Known.Updates.Sent) > 0 {
		return true
	}
	known := f.Config.Data != "" || f.Config.Hash != ""
	return known && f.Agent.Spec.SyncPolicy != v1alpha1.SyncObserve && updater{f.task}.unapplied()
}

// ownCA reports whether a Fluent Bit with the Agent's session needs a CA that the session cannot hold.
func (f finisher) ownCA() bool {
	_, wanted := tokensecret.SessionName(f.Agent)
	return wanted && f.CloudProject != nil && f.CloudProject.Spec.CABundle != nil
}

// delayVolatile allows changes of counters to cause a status write only once per interval.
func (f finisher) delayVolatile(now time.Time) {
	at := &f.Known.VolatileAt
	if at.IsZero() {
		*at = now
	}
	if now.Sub(*at) >= f.Settings.VolatileInterval {
		*at = now
		return
	}
	agentstatus.DelayVolatile(&f.Base.Status, &f.Agent.Status)
}
