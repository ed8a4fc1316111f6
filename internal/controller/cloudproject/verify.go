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

// quietThrottle is the longest wait at the API's request that no condition reports.
const quietThrottle = 30 * time.Second

// connect configures the Connection, verifies the credentials and updates their copy. The verdict is nil if the CloudProject
// is usable. The error is one of the API server.
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
	p.PauseRegistration(pauseReason(cp, both(c.lost, p.Tripped()), m.uncopied))
	verdict := r.verify(ctx, p, cp, m)
	result := p.Result()
	if result.Authentication == "" { // The API did not respond, so there is nothing to copy.
		return both(both(c.lost, p.Tripped()), verdict), nil
	}
	if m.uncopied, err = r.keepCopy(ctx, cp, c, result.Verified); err != nil {
		return nil, err
	}
	// Read after the check, which may process a user's reset.
	lost := both(c.lost, p.Tripped())
	p.PauseRegistration(pauseReason(cp, lost, m.uncopied))
	return both(lost, both(verdict, m.uncopied)), nil
}

// block stops all requests of an unusable CloudProject, and makes the next usable state verify it again.
func (r *Reconciler) block(cp *v1alpha1.CloudProject, m *memo, reason *fault.Error) *fault.Error {
	if p := r.Projects.Lookup(cp.UID); p != nil {
		p.Block(fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"CloudProject %s cannot be used: see its conditions", client.ObjectKeyFromObject(cp)).
			Coded(fault.ProjectNotReady))
	}
	m.tried, m.verdict, m.nextCheck, m.failures = attempt{}, nil, time.Time{}, 0
	return reason
}

// pauseReason returns why registration is paused; nil if it is not.
func pauseReason(cp *v1alpha1.CloudProject, lost, uncopied *fault.Error) *fault.Error {
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
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "registration is paused for CloudProject %s: %s", key, why.Message).
			Coded(fault.ProjectNotReady)
	default:
		return nil
	}
}

// verify checks the credentials if a check is due, else it returns the last verdict.
func (r *Reconciler) verify(ctx context.Context, p *connection.Connection, cp *v1alpha1.CloudProject, m *memo) *fault.Error {
	p.Expect(m.agents)
	now := r.clock().Now()
	needsCheck := m.needsCheck.Swap(false)
	try := attempt{
		version: p.Version(), generation: cp.Generation, reconcileAt: cp.Annotations[v1alpha1.AnnotationReconcileAt],
	}
	verified := p.Result().Verified
	// The request may date from a time when the operator was down or could not call the API. It counts once, even if the
	// status does not show yet that it was handled.
	if at := try.reconcileAt; at != "" && at != cp.Status.LastHandledReconcileAt && at != m.lastReset {
		m.lastReset = at
		p.Reset()
	}
	if m.tried == try {
		if m.verdict != nil && m.verdict.Reason == v1alpha1.ReasonCredentialsUnverified && verified {
			m.verdict, m.nextCheck = nil, now.Add(spread(m.interval)) // A request of an Agent verified it.
			return nil
		}
		if !needsCheck && now.Before(m.nextCheck) {
			return m.verdict
		}
	}
	err := p.Verify(ctx)
	m.tried, m.verdict = try, judge(err, p, verified)
	if v := m.verdict; v == nil || v.Class != fault.Retryable && v.Reason != v1alpha1.ReasonRateLimited {
		m.handled = try.reconcileAt
	}
	if result := p.Result(); result.Verified {
		cp.Status.ListSupported = result.ListSupported
		m.interval = r.interval(cp, m.counted(), p.ListTook())
	}
	m.nextCheck = r.clock().Now().Add(r.untilNext(m))
	return m.verdict
}

// untilNext is the time until the next check. While the credentials are rejected it does not depend on the resync interval:
// the rejection may be temporary, and all Agents wait.
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

// judge turns the outcome of a check into the failure that the CloudProject shows; verified says that the same credentials
// were verified before.
func judge(err error, p *connection.Connection, verified bool) *fault.Error {
	if err == nil {
		if p.Result().Verified {
			return nil
		}
		return fault.Waitingf(v1alpha1.ReasonCredentialsUnverified,
			"the response is inconclusive: the token is verified by the first Agent request")
	}
	f, classed := fault.As(err)
	if classed && f.Class != fault.Retryable {
		if f.Reason == v1alpha1.ReasonRateLimited && verified && f.RetryAfter <= quietThrottle {
			return f.Quietly()
		}
		return f
	}
	reason := v1alpha1.ReasonCredentialsUnverified
	if verified {
		reason = v1alpha1.ReasonUnavailable
	}
	return fault.Retryablef(reason, "%s cannot be used: %s; retrying automatically", p.Endpoint().URL, words(err)).Because(err)
}

// words returns an error text that is the same at every try.
func words(err error) string {
	e, ok := cloud.AsError(err)
	if !ok || e.Status != 0 || e.Err == nil {
		return cloud.Clean(err.Error(), maxWords)
	}
	// The client does not know the name of the field.
	return strings.Replace(e.Err.Error(), "the CA bundle", "spec.caBundle", 1)
}

// maxWords bounds the error text in a condition.
const maxWords = 1000
