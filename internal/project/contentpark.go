/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// contentThrottleEvery is how often what one namespace declares may throttle a project that others use, too.
const contentThrottleEvery = 10 * time.Minute

// throttle returns for how long a response that asks to wait throttles the whole project. What the API did not write
// may be a filter's response to the content of one request: it throttles other namespaces briefly and rarely. A rate
// limiter in front of the API asks the same of other requests. The caller holds the lock.
func (p *Project) throttle(who ratelimit.Caller, e *cloud.Error) time.Duration {
	wait := e.RetryAfter
	if wait == 0 {
		wait = parkDefault
	}
	if e.API || !e.OfContent() || !p.usedByOthers(who.Namespace) {
		return wait
	}
	now := p.registry.opts.Clock.Now()
	for namespace, last := range p.throttlers {
		if now.Sub(last) >= contentThrottleEvery {
			delete(p.throttlers, namespace)
		}
	}
	if _, recent := p.throttlers[who.Namespace]; recent {
		return 0
	}
	p.throttlers[who.Namespace] = now
	return min(wait, parkDefault)
}

// usedByOthers reports whether Agents of another namespace use the project. The caller holds the lock.
func (p *Project) usedByOthers(namespace string) bool {
	for other, agents := range p.agents {
		if agents > 0 && other != namespace {
			return true
		}
	}
	return false
}
