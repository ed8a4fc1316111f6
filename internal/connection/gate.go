/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"time"

	"github.com/sony/gobreaker/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// access is the state that allows or blocks requests.
type access struct {
	blocked   *fault.Error // why no request is made; nil if requests are allowed
	paused    *fault.Error // why registration is paused; nil if it is not
	throttled throttled
	openUntil time.Time // when the breaker allows the next probe
}

// gate is the part of a Connection that allows or blocks requests.
type gate struct{ *shared }

func notVerified(key client.ObjectKey) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "credentials of CloudProject %s are not verified yet: see its conditions", key).
		Coded(fault.ProjectNotReady)
}

// Block fails all requests with this failure until the credentials are verified again or Block(nil) is called.
func (g *gate) Block(reason *fault.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.access.blocked = reason
}

func (g *gate) close() {
	g.Block(fault.Waitingf(v1alpha1.ReasonProjectNotFound, "CloudProject %s was deleted", g.key).Coded(fault.ProjectMissing))
}

// PauseRegistration fails registrations with this failure and allows other requests; nil resumes registration and
// wakes the waiting Agents.
func (g *gate) PauseRegistration(reason *fault.Error) {
	g.mu.Lock()
	resumed := g.access.paused != nil && reason == nil
	g.access.paused = reason
	g.mu.Unlock()
	if resumed {
		g.wake()
	}
}

// RegistrationPaused returns why registration is paused, or nil.
func (g *gate) RegistrationPaused() error {
	if paused := g.pausedWith(); paused != nil {
		return paused
	}
	return nil
}

func (g *gate) pausedWith() *fault.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.access.paused
}

// wake requeues the waiting Agents of the project.
func (g *gate) wake() {
	g.mu.Lock()
	g.epoch.attempt++
	g.mu.Unlock()
	g.registry.woken(g.key)
}

// usable fails while no request for a caller is allowed; it is empty for the requests of the operator for all. It ignores the
// rate limiter.
func (g *gate) usable(who ratelimit.Caller) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.access.blocked != nil {
		return g.access.blocked
	}
	now := g.registry.opts.Clock.Now()
	if wait := g.access.throttled.until(who).Sub(now); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited,
			"Calyptia Cloud asked to wait: retrying automatically").Coded(fault.Throttled).After(fault.Spread(wait))
	}
	if g.breaker.State() == gobreaker.StateOpen {
		return fault.Waitingf(v1alpha1.ReasonUnavailable,
			"Calyptia Cloud at %s does not respond: retrying automatically", g.identity.endpoint.URL).Coded(fault.Unreachable).
			After(fault.Spread(max(g.access.openUntil.Sub(now), time.Second)))
	}
	return nil
}

// throttled fails while the API has asked to wait with requests for a caller; see usable.
func (g *gate) throttled(who ratelimit.Caller) *fault.Error {
	return g.waits(func(t *throttled) time.Time { return t.until(who) })
}

// checkThrottled fails while the API has asked to wait with the credential check.
func (g *gate) checkThrottled() *fault.Error {
	return g.waits(func(t *throttled) time.Time { return t.check })
}

func (g *gate) waits(until func(*throttled) time.Time) *fault.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := until(&g.access.throttled).Sub(g.registry.opts.Clock.Now()); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited, "Calyptia Cloud asked to wait").Coded(fault.Throttled).After(fault.Spread(wait))
	}
	return nil
}

// rejects returns why requests of a kind are not made: the API rejects them, and accepts others. It is nil if they are.
func (g *gate) rejects(kind verification.Kind) *fault.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait := g.verified.Rest(kind, g.registry.opts.Clock.Now())
	if wait == 0 {
		return nil
	}
	return fault.Waitingf(v1alpha1.ReasonForbidden,
		"Calyptia Cloud rejects the token of CloudProject %s for requests of this kind (%s): use a token that may make them",
		g.key, kind).Coded(fault.KindRejected).After(fault.Spread(wait))
}

// breakerMoved is called by the breaker, which may hold its lock: it must not call the breaker.
func (g *gate) breakerMoved(from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		g.metrics.Breaker(metrics.BreakerOpen)
		go func() {
			g.mu.Lock()
			g.access.openUntil = g.registry.opts.Clock.Now().Add(g.registry.opts.BreakerTimeout)
			g.mu.Unlock()
			if from == gobreaker.StateClosed { // A failed probe is no change.
				g.registry.needsVerification(g.key)
			}
		}()
	case gobreaker.StateClosed:
		g.metrics.Breaker(metrics.BreakerClosed)
		go func() {
			g.registry.needsVerification(g.key)
			g.wake()
		}()
	case gobreaker.StateHalfOpen:
		g.metrics.Breaker(metrics.BreakerHalfOpen)
	}
}
