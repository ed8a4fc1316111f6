/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// Verify checks, without side effects in Calyptia Cloud, whether the API accepts the credentials. On success it wakes the
// waiting Agents. Failures: waiting (Unauthorized) if the API rejects the credentials; retryable if the check is
// inconclusive.
func (c *Connection) Verify(ctx context.Context) error {
	if err := c.checkThrottled(); err != nil {
		return err
	}
	s := c.shared
	s.mu.Lock()
	now, at, before := s.identity, s.epoch, s.verified.Result
	schemes := verification.Schemes(now.wanted, s.verified.Preferred)
	s.mu.Unlock()

	last, pause := errors.New("requests are rejected with 401"), time.Duration(0)
	for _, try := range c.tries(at, schemes) {
		if try.Rest > 0 && try.Again {
			pause = sooner(pause, try.Rest)
			continue
		}
		with := now.bare.WithCredential(cloud.Credential{Scheme: cloud.Scheme(try.scheme), Token: now.token})
		known := verification.Result{}
		if before.Authentication == try.scheme {
			known = before
		}
		result, err := verification.Check(ctx, with, now.endpoint.URL, now.endpoint.ProjectID, known)
		switch {
		case verification.IsRefusal(err):
			last = err
		case err == nil && !result.Verified && try.Rest > 0:
			pause = sooner(pause, try.Rest)
		default:
			result.Authentication = try.scheme
			return c.conclude(at, with, result, err)
		}
	}
	s.mu.Lock()
	if s.epoch.session == at.session {
		s.access.blocked, s.verified.Result.Verified = unauthorized(s.key), false
	}
	s.mu.Unlock()
	return fault.Waitingf(v1alpha1.ReasonUnauthorized,
		"Calyptia Cloud rejected the token (%v): put a valid project token into the Secret of spec.tokenSecretRef", last).
		Coded(fault.TokenRejected).After(pause).Because(last)
}

// try is a scheme to check.
type try struct {
	verification.Standing
	scheme v1alpha1.Authentication
}

// rank is how little of all requests the scheme may be accepted for.
func (t try) rank() int {
	switch {
	case t.Most:
		return 2
	case t.Some:
		return 1
	default:
		return 0
	}
}

// tries are the schemes in the order in which they are checked: that of their ranks, if one is rejected for some kinds of requests alone.
func (c *Connection) tries(at epoch, schemes []v1alpha1.Authentication) []try {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	var tries []try
	for _, scheme := range schemes {
		t := try{scheme: scheme}
		if c.shared.epoch.session == at.session {
			t.Standing = c.shared.verified.Standing(scheme, c.shared.registry.opts.Clock.Now())
		}
		tries = append(tries, t)
	}
	if slices.ContainsFunc(tries, func(t try) bool { return t.Some }) {
		slices.SortStableFunc(tries, func(a, b try) int { return a.rank() - b.rank() })
	}
	return tries
}

// sooner returns the shorter of two durations; the first is zero while unknown.
func sooner(pause, wait time.Duration) time.Duration {
	if pause == 0 {
		return wait
	}
	return min(pause, wait)
}

// conclude records the outcome of a check that was not a plain rejection.
func (c *Connection) conclude(at epoch, with *cloud.Client, result verification.Result, err error) error {
	s := c.shared
	s.witness(err)
	s.mu.Lock()
	stale := s.epoch.session != at.session
	wasBlocked, expected := s.access.blocked != nil, s.tenants.total() > 0
	if err != nil {
		s.verified.Unlisted()
	}
	lostList := !stale && err == nil && s.verified.MissesList(result, s.registry.opts.Clock.Now())
	if !stale && err == nil && (!lostList || wasBlocked) {
		if lostList { // Then it is not known: all but registrations can proceed.
			result.ListSupported = nil
		}
		s.verified.Accept(result)
		s.identity.client, s.access.blocked = with, nil
		s.identity.accepted = s.identity.accepted || s.verified.Result.Verified
		s.epoch.check++
	}
	s.mu.Unlock()
	switch {
	case stale:
		return fault.Retryablef(v1alpha1.ReasonCredentialsUnverified, "the credentials changed while they were verified").
			Coded(fault.CredentialsUnverified)
	case err != nil:
		c.learn(ratelimit.Caller{}, at, "", err)
		if throttled := c.checkThrottled(); throttled != nil {
			return throttled.Because(err)
		}
		return err
	}
	if expected && !lostList {
		c.Warm() // Before the Agents wake that wait for it.
	}
	if wasBlocked {
		c.wake()
	}
	if lostList && result.PageRefused != "" {
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"something between the operator and Calyptia Cloud refuses the list of the newest agent, and "+
				"the next list failed (%s), so that it is not known whether lists work", result.PageRefused)
	}
	if lostList {
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse,
			"Calyptia Cloud no longer lists agents: check for a proxy between it and the operator, and that the token may list agents")
	}
	return nil
}
