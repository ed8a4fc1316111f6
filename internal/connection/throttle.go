/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"maps"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// contentThrottleEvery is the shortest time between two throttles of a project by the Agents of one namespace.
const contentThrottleEvery = 10 * time.Minute

// waits are for how long a response that asks to wait throttles requests: those of its Agent, of its namespace, of all, and the credential
// check.
type waits struct{ agent, namespace, all, check time.Duration }

// throttle returns what a response that asks to wait throttles. If the API did not write it, it may be a filter's response to what one
// Agent sends or reads; a 429 of the API may be a limit of one agent. So a response to a request for one Agent throttles all briefly and
// rarely. Its namespace waits as long as asked after a filter's response, except for what one of its Agents declares while others use the
// project; after a 429 of the API only the Agent does. A limit of the project rejects the credential check, too, which throttles all. The
// caller holds the lock.
func (s *shared) throttle(who ratelimit.Caller, e *cloud.Error) waits {
	wait := e.RetryAfter
	if wait == 0 {
		wait = throttleDefault
	}
	limited := e.API && e.Status == http.StatusTooManyRequests
	if who.Namespace == "" || e.API && !limited {
		return waits{namespace: wait, all: wait, check: wait}
	}
	now, brief := s.registry.opts.Clock.Now(), min(wait, throttleDefault)
	var w waits
	maps.DeleteFunc(s.tenants.throttlers, func(_ string, last time.Time) bool { return now.Sub(last) >= contentThrottleEvery })
	if _, recent := s.tenants.throttlers[who.Namespace]; !recent {
		s.tenants.throttlers[who.Namespace] = now
		w.all = brief
	}
	switch {
	case limited:
		w.agent, w.namespace = wait, brief
		if now.Sub(s.tenants.asked) >= witnessEvery { // Others do not delay the check that this requests.
			s.tenants.asked, w.check = now, brief
		}
	case e.OfContent() && s.tenants.beside(who.Namespace):
		w.namespace, w.check = w.all, w.all
	default:
		w.namespace, w.check = wait, w.all
	}
	return w
}

// throttled says until when no request is sent, because a response asked to wait.
type throttled struct {
	all        time.Time // all requests but the credential check
	check      time.Time
	namespaces map[string]time.Time // that wait longer
	agents     map[types.UID]time.Time
}

// until is when requests of a caller are sent again.
func (t *throttled) until(who ratelimit.Caller) time.Time {
	return later(later(t.all, t.namespaces[who.Namespace]), t.agents[who.UID])
}

// extend reports whether a response makes its caller, and the credential check, wait longer than before.
func (t *throttled) extend(now time.Time, who ratelimit.Caller, w waits) (longer, check bool) {
	before, beforeCheck := t.until(who), later(t.check, now)
	t.all, t.check = later(t.all, now.Add(w.all)), later(t.check, now.Add(w.check))
	t.namespaces = prolong(t.namespaces, who.Namespace, now, w.namespace)
	t.agents = prolong(t.agents, who.UID, now, w.agent)
	return t.until(who).After(later(before, now)), t.check.After(beforeCheck)
}

// prolong makes one of those that wait longer than all others wait, and drops those whose wait is over.
func prolong[K comparable](waiting map[K]time.Time, who K, now time.Time, wait time.Duration) map[K]time.Time {
	maps.DeleteFunc(waiting, func(_ K, until time.Time) bool { return !until.After(now) })
	var nobody K
	if wait == 0 || who == nobody {
		return waiting
	}
	if waiting == nil {
		waiting = map[K]time.Time{}
	}
	waiting[who] = later(waiting[who], now.Add(wait))
	return waiting
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
