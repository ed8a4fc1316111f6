/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// quietPark is the longest wait that a service may ask for without a condition telling of it.
const quietPark = 30 * time.Second

// connect brings the Project to the spec and the credentials, proves them and keeps the copy of them. The
// verdict is nil where the CloudProject is fit for use. The error is one of the API server.
func (r *Reconciler) connect(ctx context.Context, cp *v1alpha1.CloudProject, m *memo) (*fault.Error, error) {
	m.interval = r.interval(cp, m.counted(), r.listTook(cp))
	c, err := r.load(ctx, cp)
	if err != nil {
		return nil, err
	}
	if !c.usable() {
		return r.block(cp, m, c.lost), nil
	}
	p, err := r.Projects.Configure(cp, c.Credentials)
	if err != nil {
		unfit, ok := fault.As(err)
		if !ok {
			return nil, err
		}
		return r.block(cp, m, both(unfit, c.lost)), nil
	}
	c.DigestKey = p.DigestKey()
	if c.copy == nil && c.lost == nil && m.uncopied == nil {
		m.uncopied = fault.Waitingf(v1alpha1.ReasonProgressing, "its credentials are not copied yet")
	}
	p.PauseRegistration(closed(cp, both(c.lost, p.Tripped()), m.uncopied))
	verdict := r.prove(ctx, p, cp, m)
	proof := p.Result()
	if proof.Authentication == "" { // The service did not speak, so there is nothing to copy.
		return both(both(c.lost, p.Tripped()), verdict), nil
	}
	if m.uncopied, err = r.keepCopy(ctx, cp, c, proof.Verified); err != nil {
		return nil, err
	}
	// Read after the proof, because a person's word that it waited for comes with it.
	lost := both(c.lost, p.Tripped())
	p.PauseRegistration(closed(cp, lost, m.uncopied))
	return both(lost, both(verdict, m.uncopied)), nil
}

// block stops all calls of a CloudProject that cannot be used, and has it proved anew when it can.
func (r *Reconciler) block(cp *v1alpha1.CloudProject, m *memo, reason *fault.Error) *fault.Error {
	if p := r.Projects.Lookup(cp.UID); p != nil {
		p.Block(fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"CloudProject %s cannot be used: its own conditions say why", client.ObjectKeyFromObject(cp)).
			Coded(fault.ProjectNotReady))
	}
	m.tried, m.verdict, m.due, m.failures = attempt{}, nil, time.Time{}, 0
	return reason
}

// closed says why no Agent may be registered; nil if they may.
func closed(cp *v1alpha1.CloudProject, lost, uncopied *fault.Error) *fault.Error {
	key := client.ObjectKeyFromObject(cp)
	why := lost
	if why == nil {
		why = uncopied
	}
	switch {
	case cp.DeletionTimestamp != nil:
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "CloudProject %s is being deleted and registers no more Agents", key).
			Coded(fault.ProjectNotReady)
	case why != nil:
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "CloudProject %s registers no Agents now: %s", key, why.Message).
			Coded(fault.ProjectNotReady)
	default:
		return nil
	}
}

// prove shows the credentials to the service when that is due, and else repeats the last verdict.
func (r *Reconciler) prove(ctx context.Context, p *connection.Connection, cp *v1alpha1.CloudProject, m *memo) *fault.Error {
	p.Expect(m.agents)
	now := r.clock().Now()
	doubted := m.doubted.Swap(false)
	try := attempt{
		version: p.Version(), generation: cp.Generation, reconcileAt: cp.Annotations[v1alpha1.AnnotationReconcileAt],
	}
	proved := p.Result().Verified
	// It may have been asked for while nobody ran, or nothing could be called; and once only, also while the status
	// does not tell yet that it was heard.
	if at := try.reconcileAt; at != "" && at != cp.Status.LastHandledReconcileAt && at != m.heard {
		m.heard = at
		p.Reset()
	}
	if m.tried == try {
		if m.verdict != nil && m.verdict.Reason == v1alpha1.ReasonCredentialsUnverified && proved {
			m.verdict, m.due = nil, now.Add(spread(m.interval)) // A call of an Agent proved it.
			return nil
		}
		if !doubted && now.Before(m.due) {
			return m.verdict
		}
	}
	err := p.Verify(ctx)
	m.tried, m.verdict = try, judge(err, p, proved)
	if v := m.verdict; v == nil || v.Class != fault.Retryable && v.Reason != v1alpha1.ReasonRateLimited {
		m.handled = try.reconcileAt
	}
	if proof := p.Result(); proof.Verified {
		cp.Status.ListSupported = proof.ListSupported
		m.interval = r.interval(cp, m.counted(), p.ListTook())
	}
	m.due = r.clock().Now().Add(r.untilNext(m))
	return m.verdict
}

// untilNext is the time until the credentials are shown again. How often good ones are has no part in it while they are
// refused: the refusal may be a moment's trouble, and all Agents wait for its end.
func (r *Reconciler) untilNext(m *memo) time.Duration {
	v := m.verdict
	refused := v != nil && v.Reason == v1alpha1.ReasonUnauthorized
	switch {
	case refused, v != nil && v.Class == fault.Retryable:
		m.failures++
	case v == nil || v.RetryAfter == 0:
		m.failures = 0
	}
	switch {
	case v != nil && v.RetryAfter > 0:
		return v.RetryAfter
	case refused:
		return r.refusedBackoff(m.failures)
	case v != nil && v.Class == fault.Retryable:
		return r.backoff(m.failures)
	default:
		return spread(m.interval)
	}
}

// judge turns the outcome of a proof into what the CloudProject shows; proved says that the same credentials
// were proved before.
func judge(err error, p *connection.Connection, proved bool) *fault.Error {
	if err == nil {
		if p.Result().Verified {
			return nil
		}
		return fault.Waitingf(v1alpha1.ReasonCredentialsUnverified,
			"the service answers, but not in a way that proves the token: the first call for an Agent will")
	}
	f, classed := fault.As(err)
	if classed && f.Class != fault.Retryable {
		if f.Reason == v1alpha1.ReasonRateLimited && proved && f.RetryAfter <= quietPark {
			return f.Quietly()
		}
		return f
	}
	reason := v1alpha1.ReasonCredentialsUnverified
	if proved {
		reason = v1alpha1.ReasonUnavailable
	}
	return fault.Retryablef(reason, "%s cannot be used: %s; it is tried again by itself", p.Endpoint().URL, words(err)).Because(err)
}

// words says what went wrong in words that stay the same from try to try.
func words(err error) string {
	e, ok := cloud.AsError(err)
	if !ok || e.Status != 0 || e.Err == nil {
		return cloud.Clean(err.Error(), maxWords)
	}
	// The client knows certificates, but not where a CloudProject names them.
	return strings.Replace(e.Err.Error(), "the CA bundle", "spec.caBundle", 1)
}

// maxWords bounds what a condition repeats of an error.
const maxWords = 1000
