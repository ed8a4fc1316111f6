/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"maps"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// contentThrottleEvery is the shortest time between two throttles of a project by the Agents of one namespace.
const contentThrottleEvery = 10 * time.Minute

// throttle returns for how long a response that asks to wait throttles its own namespace, and all. If the API did not write
// it, it may be a filter's response to what one Agent sends or reads, so it throttles all briefly and rarely. Only its own namespace
// waits as long as asked, except for what one of its Agents declares while others use the project. A rate limiter in front of the
// API rejects the credential check, too, which throttles all. The caller holds the lock.
func (s *shared) throttle(who ratelimit.Caller, e *cloud.Error) (own, all time.Duration) {
	wait := e.RetryAfter
	if wait == 0 {
		wait = throttleDefault
	}
	if e.API || who.Namespace == "" {
		return wait, wait
	}
	now := s.registry.opts.Clock.Now()
	maps.DeleteFunc(s.tenants.throttlers, func(_ string, last time.Time) bool { return now.Sub(last) >= contentThrottleEvery })
	if _, recent := s.tenants.throttlers[who.Namespace]; !recent {
		s.tenants.throttlers[who.Namespace] = now
		all = min(wait, throttleDefault)
	}
	if e.OfContent() && s.tenants.beside(who.Namespace) {
		return all, all
	}
	return wait, all
}

// throttled says until when no request is sent, because a response asked to wait.
type throttled struct {
	all time.Time
	own map[string]time.Time // of the namespaces that wait longer than all others
}

func (t *throttled) until(namespace string) time.Time {
	if own := t.own[namespace]; own.After(t.all) {
		return own
	}
	return t.all
}

// extend reports whether a response makes its namespace, and all, wait longer than before.
func (t *throttled) extend(now time.Time, namespace string, own, all time.Duration) (longer, longerForAll bool) {
	before := t.until(namespace)
	if until := now.Add(all); all > 0 && until.After(t.all) {
		t.all, longerForAll = until, true
	}
	maps.DeleteFunc(t.own, func(_ string, until time.Time) bool { return !until.After(t.all) })
	if until := now.Add(own); own > 0 && until.After(t.until(namespace)) {
		if t.own == nil {
			t.own = map[string]time.Time{}
		}
		t.own[namespace] = until
	}
	return longerForAll || t.until(namespace).After(before), longerForAll
}
