/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// writeTime is how long a status may take that a shutdown must not lose.
const writeTime = 10 * time.Second

// quietWait is how long a failure that passes by itself is waited for.
const quietWait = 100 * time.Millisecond

// finish turns what a pass came to into conditions, one status write, events and the time of the next pass.
func (p *pass) finish(ctx context.Context, err error) (ctrl.Result, error) {
	if p.released || err == nil && !p.agent.DeletionTimestamp.IsZero() {
		p.report(ctx)
		if p.vanished {
			p.forget(p.key())
			return ctrl.Result{RequeueAfter: time.Millisecond}, nil // There may be a new Agent of the name.
		}
		p.memory.posted = nil
		return ctrl.Result{}, nil
	}
	forgets := p.memory.posted != nil && p.forgets(p.memory.posted)
	if p.memory.posted != nil && !forgets {
		p.memory.posted = p.agent
	}
	f := p.redacted(ctx, classify(err))
	now := p.Clock.Now()
	grace := p.remember(ctx, f, now)
	p.conclude(f, grace)
	p.volatile(now)

	write, cancel := detach(ctx)
	defer cancel()
	learned := p.agent.Status.ID != p.base.Status.ID || p.agent.Status.RegistrationIntent != p.base.Status.RegistrationIntent
	if ctx.Err() != nil && !learned {
		return ctrl.Result{}, nil // Shutting down: the next leader does it all again.
	}
	p.memory.unwritten++
	err = p.writeStatus(write)
	if err == nil && !p.vanished && !p.open() && !forgets {
		p.memory.posted = nil
	}
	if client.IgnoreNotFound(err) != nil {
		p.memory.hold = time.Time{}
		p.log(ctx, classify(err), false, "status")
		return ctrl.Result{RequeueAfter: fault.Backoff(p.memory.unwritten, quietWait, p.Settings.BackoffMax), Priority: &lowPriority}, nil
	}
	p.memory.unwritten = 0
	p.report(ctx)
	p.log(ctx, f, grace, "")
	return p.rest()
}

// forgets reports whether this pass knows less of a registration than what an earlier one came to and could not write,
// or whose record somebody removed.
func (p *pass) forgets(posted *v1alpha1.Agent) bool {
	return p.pruned(posted) || posted.Status.ID != "" && p.agent.Status.ID == "" && intentOf(posted) == p.intent()
}

// redacted takes the agent's own token out of what the service says: its client knows the project's alone.
func (p *pass) redacted(ctx context.Context, f classed) classed {
	if e, ok := cloud.AsError(f.cause()); !ok || e.Message == "" {
		return f
	}
	tokens := []cloud.Token{p.token, p.memory.unstored}
	if secret, _, err := p.secrets.Find(ctx, p.agent, tokensecret.Name(p.agent)); err == nil && secret != nil {
		tokens = append(tokens, tokensecret.Token(secret))
	}
	clean := *f.Error
	for _, token := range tokens {
		clean.Message = cloud.Redact(clean.Message, token)
	}
	return classed{&clean}
}

// remember notes the failure and when to try again. It reports whether an applied Agent shows nothing of
// it yet.
func (p *pass) remember(ctx context.Context, f classed, now time.Time) (grace bool) {
	m := p.memory
	if f.Error == nil {
		m.failures, m.failing, m.hold, m.holdErr = 0, time.Time{}, time.Time{}, nil
		return false
	}
	if m.failing.IsZero() {
		m.failing = now
	}
	if p.remote != nil && !p.registered && len(m.resend) == 0 {
		m.due, m.differs = now, true // What was read has not been acted on.
	}
	wait := f.RetryAfter
	switch f.Class {
	case fault.Terminal:
		m.failures = 0
		if wait == 0 {
			wait = p.interval(ctx)
		}
	case fault.Waiting:
		if wait == 0 && p.vanished { // No watch wakes it.
			m.failures++
			wait = fault.Backoff(m.failures, p.Settings.BackoffMin, p.Settings.BackoffMax)
		} else if wait == 0 {
			wait = p.interval(ctx)
		}
	case fault.Retryable:
		if f.Quiet {
			wait = max(wait, fault.Backoff(1, quietWait, quietWait)) // A stale cache, as a rule: it catches up at once.
			break
		}
		m.failures++
		wait = max(wait, fault.Backoff(m.failures, p.Settings.BackoffMin, p.Settings.BackoffMax))
	}
	m.hold, m.holdFor = now.Add(wait), p.found
	if f.Class == fault.Waiting && f.RetryAfter == 0 {
		m.holdFor = "" // A watch ends it, and looking costs nothing remote.
	}
	outage := f.Class == fault.Retryable && f.Reason != v1alpha1.ReasonRemoteDeleted || f.Reason == v1alpha1.ReasonProjectNotReady ||
		f.Reason == v1alpha1.ReasonRateLimited || f.Reason == v1alpha1.ReasonUnavailable
	return outage && now.Sub(m.failing) < p.Settings.OutageGrace
}

// writeStatus writes the status once, if it changed. A conflict that is not about the status is no reason
// to lose it; one that is leaves the Agent to whoever wrote.
func (p *pass) writeStatus(ctx context.Context) error {
	if p.vanished {
		return nil
	}
	for range 3 {
		if equality.Semantic.DeepEqual(p.base.Status, p.agent.Status) {
			return nil
		}
		base, target := v1alpha1.Agent{Status: p.base.Status}, v1alpha1.Agent{Status: p.agent.Status}
		written, err := p.patch(&base, &target, func(o client.Object, patch client.Patch) error {
			return p.Client.Status().Patch(ctx, o, patch)
		})
		if err == nil {
			target.ObjectMeta, target.Spec = *written, p.base.Spec
			p.base = target.DeepCopy()
			return nil
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		var live v1alpha1.Agent
		if err := p.APIReader.Get(ctx, p.key(), &live); err != nil {
			return err
		}
		if live.UID != p.base.UID || !equality.Semantic.DeepEqual(live.Status, p.base.Status) {
			return err
		}
		p.base = &live
	}
	return errors.New("the Agent changes too fast to write its status")
}
