/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// quietThrottle is the longest wait at the API's request that no condition reports.
	quietThrottle = 30 * time.Second
	// agentsPerPage is how many Agents one request of a resync covers if the API lists agents.
	agentsPerPage = 100
)

// connector configures the Connections of CloudProjects and checks their credentials.
type connector struct {
	projects *connection.Registry
	loader   loader
	copies   copies
	clock    clock.PassiveClock
	delays   Delays
}

// connect configures the Connection, verifies the credentials and updates their copy. The verdict is nil if the CloudProject
// is usable. The error is one of the API server, and the verdict then what is known besides.
func (n connector) connect(ctx context.Context, cp *v1alpha1.CloudProject, m *memo) (*fault.Error, error) {
	var took time.Duration // of the last list
	if p := n.projects.Lookup(cp.UID); p != nil {
		took = p.ListTook()
	}
	m.interval = resyncInterval(cp, m.counted(), took)
	c, err := n.loader.load(ctx, cp)
	if err != nil {
		return n.unread(ctx, cp, m), err
	}
	if !c.usable() {
		return n.block(cp, m, c.lost), nil
	}
	c.Borrowed = c.lost != nil
	if err := n.newest(ctx, cp, c.Credentials); err != nil {
		return n.projects.Tripped(cp), err
	}
	p, err := n.projects.Configure(cp, c.Credentials)
	if err != nil {
		unfit, ok := fault.As(err)
		if !ok {
			return n.projects.Tripped(cp), err
		}
		return n.block(cp, m, both(unfit, c.lost)), nil
	}
	c.DigestKey = p.DigestKey()
	if c.copy == nil && c.lost == nil && m.copying.failure == nil {
		m.copying.failure = fault.Waitingf(v1alpha1.ReasonProgressing, "its credentials are not copied yet")
	}
	p.PauseRegistration(pauseReason(cp, both(both(c.lost, m.unfenced.failure), p.Tripped()), m.copying.failure))
	verdict := n.verify(ctx, p, cp, m)
	result := p.Result()
	if result.Authentication == "" { // The API did not respond, so there is nothing to copy.
		return both(both(c.lost, p.Tripped()), verdict), nil
	}
	err = n.copy(ctx, p, cp, m, c)
	// Read after the check, which may process a user's reset.
	lost := both(c.lost, p.Tripped())
	if err != nil {
		return both(lost, verdict), err
	}
	p.PauseRegistration(pauseReason(cp, both(lost, m.unfenced.failure), m.copying.failure))
	return both(lost, both(verdict, m.copying.failure)), nil
}

// unread has a CloudProject whose credentials cannot be read continue with those in use. If they or the permissions changed, nothing is
// registered; if they may be for another place, nothing is sent, and the Agents say so.
func (n connector) unread(ctx context.Context, cp *v1alpha1.CloudProject, m *memo) *fault.Error {
	p := n.projects.Lookup(cp.UID)
	if p == nil {
		return n.projects.Tripped(cp)
	}
	secret := metav1.PartialObjectMetadata{}
	secret.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	_ = n.copies.client.Get(ctx, client.ObjectKey{Namespace: cp.Namespace, Name: cp.Spec.TokenSecretRef.Name}, &secret) // None has no version.
	switch {
	case connection.Serves(p, cp) && connection.TokenVersion(p) == secret.ResourceVersion:
		if m.unfenced.failure != nil {
			p.PauseRegistration(pauseReason(cp, m.unfenced.failure, nil))
		}
	case connection.Borrow(p, cp, secret.ResourceVersion):
		p.PauseRegistration(pauseReason(cp, fault.Waitingf(v1alpha1.ReasonAPIServer, "its credentials cannot be read"), nil))
	default:
		return n.block(cp, m, nil)
	}
	return n.projects.Tripped(cp)
}

// newest fails if the CloudProject has changed since it was read, and the credentials are new: they were read later, and may be for other
// permissions, which the owner took back before.
func (n connector) newest(ctx context.Context, cp *v1alpha1.CloudProject, c connection.Credentials) error {
	if p := n.projects.Lookup(cp.UID); p != nil && connection.Uses(p, cp, c) {
		return nil
	}
	var live v1alpha1.CloudProject
	err := n.loader.apiReader.Get(ctx, client.ObjectKeyFromObject(cp), &live)
	if err == nil && (live.UID != cp.UID || live.Generation != cp.Generation) {
		err = apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("cloudprojects").GroupResource(), cp.Name, nil)
	}
	return err
}

// copy updates the copy of the credentials. One that a webhook of the cluster stores otherwise than it was written is written again only
// after a backoff, or if something changed: each write wakes the CloudProject.
func (n connector) copy(
	ctx context.Context, p *connection.Connection, cp *v1alpha1.CloudProject, m *memo, c credentials,
) error {
	last, try := &m.copying, attemptOf(p, cp)
	if last.tried == try && n.clock.Now().Before(last.next) {
		return nil
	}
	failure, err := n.copies.keep(ctx, cp, c, p.Result().Verified || last.times > 0 && last.tried.version == try.version)
	if err != nil {
		return err // It shows nothing of the copy.
	}
	last.failure = failure
	if failure == nil || failure.Code != fault.SecretUnstored {
		last.tried, last.times, last.next = attempt{}, 0, time.Time{}
		return nil
	}
	last.tried, last.times = try, last.times+1
	last.next = n.clock.Now().Add(n.delays.backoff(last.times))
	return nil
}

// block stops all requests of an unusable CloudProject, and makes the next usable state verify it again. The verdict also says if the
// safeguard tripped: a restart must not forget that.
func (n connector) block(cp *v1alpha1.CloudProject, m *memo, reason *fault.Error) *fault.Error {
	if p := n.projects.Lookup(cp.UID); p != nil {
		p.Block(fault.Waitingf(v1alpha1.ReasonProjectNotReady,
			"CloudProject %s cannot be used: see its conditions", client.ObjectKeyFromObject(cp)).
			Coded(fault.ProjectNotReady))
	}
	m.check.again()
	return both(reason, n.projects.Tripped(cp))
}

// pauseReason returns why registration is paused; nil if it is not. Agents of other namespaces show it, so it does not describe
// the CloudProject.
func pauseReason(cp *v1alpha1.CloudProject, lost, uncopied *fault.Error) *fault.Error {
	key := client.ObjectKeyFromObject(cp)
	switch {
	case cp.DeletionTimestamp != nil:
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "CloudProject %s is being deleted and registers no more Agents", key).
			Coded(fault.ProjectNotReady)
	case lost != nil || uncopied != nil:
		return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "registration is paused for CloudProject %s: see its conditions", key).
			Coded(fault.ProjectNotReady)
	default:
		return nil
	}
}

// resyncInterval is the effective resync interval: long enough that all Agents need at most half of the rate limit, and that
// lists, of which the last took this long, run at most half of the time.
func resyncInterval(cp *v1alpha1.CloudProject, agents int, took time.Duration) time.Duration {
	d := connection.DefaultResyncInterval
	if cp.Spec.ResyncInterval != nil {
		d = cp.Spec.ResyncInterval.Duration
	}
	d = max(d, time.Minute)
	needed := 2 * took
	if limit := cp.Spec.RateLimit; limit != nil && limit.RequestsPerSecond != nil && *limit.RequestsPerSecond > 0 {
		calls := agents
		if lists := cp.Status.ListSupported; lists != nil && *lists {
			calls = (agents + agentsPerPage - 1) / agentsPerPage
		}
		needed = max(needed, time.Duration(calls)*2*time.Second/time.Duration(*limit.RequestsPerSecond))
	}
	if needed <= d {
		return d
	}
	return (needed + time.Minute - 1).Truncate(time.Minute) // Whole minutes, so that it rarely changes.
}

// verify checks the credentials if a check is due, else it returns the last verdict.
func (n connector) verify(ctx context.Context, p *connection.Connection, cp *v1alpha1.CloudProject, m *memo) *fault.Error {
	p.Expect(m.agents)
	p.SetRecorded(m.recorded)
	last := &m.check
	now := n.clock.Now()
	needsCheck := m.needsCheck.Swap(false)
	try := attemptOf(p, cp)
	verified := p.Result().Verified
	// The request may date from a time when the operator was down or could not call the API. It counts once, even if the
	// status does not show yet that it was handled.
	if at := try.reconcileAt; at != "" && at != cp.Status.LastHandledReconcileAt && at != last.lastReset {
		last.lastReset = at
		p.Reset()
	}
	if last.tried == try {
		if v := last.verdict; v != nil && v.Code == fault.CredentialsUnverified && v.Class != fault.Retryable && verified {
			last.verdict, last.next = nil, now.Add(spread(m.interval)) // A request of an Agent verified it.
			return nil
		}
		if !needsCheck && now.Before(last.next) {
			return last.verdict
		}
	}
	err := p.Verify(ctx)
	last.tried, last.verdict = try, judge(err, p, verified)
	if v := last.verdict; err == nil || v.Class != fault.Retryable && v.Code != fault.Throttled {
		last.handled = try.reconcileAt
	}
	if result := p.Result(); result.Verified {
		if result.ListSupported != nil {
			cp.Status.ListSupported = result.ListSupported
		}
		m.interval = resyncInterval(cp, m.counted(), p.ListTook())
	}
	last.next = n.clock.Now().Add(n.untilNext(m))
	return last.verdict
}

// untilNext is the time until the next check. While the credentials are rejected it does not depend on the resync interval:
// the rejection may be temporary, and all Agents wait.
func (n connector) untilNext(m *memo) time.Duration {
	last := &m.check
	v := last.verdict
	refused := v != nil && v.Code == fault.TokenRejected
	switch {
	case refused, v != nil && v.Class == fault.Retryable:
		last.failures++
	case v == nil || v.RetryAfter == 0:
		last.failures = 0
	}
	switch {
	case v != nil && v.RetryAfter > 0:
		return v.RetryAfter
	case refused:
		return n.delays.refusedBackoff(last.failures)
	case v != nil && v.Class == fault.Retryable:
		return n.delays.backoff(last.failures)
	default:
		return spread(m.interval)
	}
}

// judge turns the outcome of a check into the failure that the CloudProject shows; verified says that the same credentials
// were verified before.
func judge(err error, p *connection.Connection, verified bool) *fault.Error {
	if err == nil {
		switch result := p.Result(); {
		case result.PageRefused != "" && result.ListSupported == nil:
			return fault.Retryablef(v1alpha1.ReasonUnavailable, "something between the operator and %s refuses the list of the newest agent, and "+
				"the next list failed (%s): registrations wait; check the rules of that filter, and what the newest agents hold",
				p.Endpoint().URL, result.PageRefused).Coded(fault.Unreachable)
		case result.Verified && result.PageRefused != "":
			return fault.Retryablef(v1alpha1.ReasonUnavailable, "something between the operator and %s refuses the list of the newest agent "+
				"(%s), and not a list without agents: registrations wait; check the rules of that filter, and what the newest agents hold",
				p.Endpoint().URL, result.PageRefused).Coded(fault.Unreachable)
		case result.Verified:
			return nil
		}
		return fault.Waitingf(v1alpha1.ReasonCredentialsUnverified,
			"the response is inconclusive: the token is verified by the first Agent request").Coded(fault.CredentialsUnverified)
	}
	f, classed := fault.As(err)
	if classed && f.Class != fault.Retryable {
		if f.Code == fault.Throttled && verified && f.RetryAfter <= quietThrottle {
			return f.Quietly()
		}
		return f
	}
	reason, code := v1alpha1.ReasonCredentialsUnverified, fault.CredentialsUnverified
	if p.Result().Verified {
		reason, code = v1alpha1.ReasonUnavailable, fault.Unreachable
	}
	return fault.Retryablef(reason, "%s cannot be used: %s; retrying automatically", p.Endpoint().URL, words(err)).
		Coded(code).Because(err)
}

// words returns an error text that is the same at every try.
func words(err error) string {
	e, ok := cloud.AsError(err)
	if !ok || e.Status != 0 || e.Err == nil {
		return cloud.Words(err)
	}
	// The client does not know the name of the field.
	return strings.Replace(e.Err.Error(), "the CA bundle", "spec.caBundle", 1)
}
