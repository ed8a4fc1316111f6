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
)

// access says whether requests are made now.
type access struct {
	blocked        *fault.Error // why no request is made; nil when requests are made
	paused         *fault.Error // why nothing new is registered; nil when it is
	throttledUntil time.Time
	openUntil      time.Time // when the breaker permits the next probe
}

// gate is the part of a Connection that decides whether requests are made.
type gate struct{ *shared }

func notVerified(key client.ObjectKey) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "CloudProject %s is not proved yet: its own conditions say why", key).
		Coded(fault.ProjectNotReady)
}

// Block refuses all requests with this failure until the credentials are verified again or Block(nil) is called.
func (g *gate) Block(reason *fault.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.access.blocked = reason
}

func (g *gate) close() {
	g.Block(fault.Waitingf(v1alpha1.ReasonProjectNotFound, "CloudProject %s was deleted", g.key).Coded(fault.ProjectMissing))
}

// PauseRegistration refuses registrations with this failure, while other requests go on; nil permits them again,
// and wakes the Agents that waited for it.
func (g *gate) PauseRegistration(reason *fault.Error) {
	g.mu.Lock()
	resumed := g.access.paused != nil && reason == nil
	g.access.paused = reason
	g.mu.Unlock()
	if resumed {
		g.wake()
	}
}

// RegistrationPaused returns why nothing new is registered, or nil.
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

// wake lets the Agents of the project continue.
func (g *gate) wake() {
	g.mu.Lock()
	g.epoch.attempt++
	g.mu.Unlock()
	g.registry.woken(g.key)
}

// usable says whether requests are made at all. It does not ask the rate limiter.
func (g *gate) usable() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.access.blocked != nil {
		return g.access.blocked
	}
	now := g.registry.opts.Clock.Now()
	if wait := g.access.throttledUntil.Sub(now); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited,
			"the service asked to wait; it is called again by itself").Coded(fault.Throttled).After(fault.Spread(wait))
	}
	if g.breaker.State() == gobreaker.StateOpen {
		return fault.Waitingf(v1alpha1.ReasonUnavailable,
			"the service at %s does not answer; it is tried again by itself", g.identity.endpoint.URL).Coded(fault.Unreachable).
			After(fault.Spread(max(g.access.openUntil.Sub(now), time.Second)))
	}
	return nil
}

// throttled fails while the API has asked to wait.
func (g *gate) throttled() *fault.Error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if wait := g.access.throttledUntil.Sub(g.registry.opts.Clock.Now()); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited, "the service asked to wait").Coded(fault.Throttled).After(fault.Spread(wait))
	}
	return nil
}

// breakerMoved runs inside a call of the breaker, which may hold its lock: it must not call it back.
func (g *gate) breakerMoved(from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		g.metrics.Breaker(metrics.BreakerOpen)
		go func() {
			g.mu.Lock()
			g.access.openUntil = g.registry.opts.Clock.Now().Add(g.registry.opts.BreakerTimeout)
			g.mu.Unlock()
			if from == gobreaker.StateClosed { // A probe that failed shows nothing new.
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
