/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// mostOdd is how many Agents of one namespace count for the breaker with a response that is none, while other
// namespaces use the project, too: fewer than open it.
const mostOdd = opensAfter - 1

// oddities are the Agents for which there was another response than the API should give, and no failure of it, since
// it last responded to anybody as it should. All responses are odd if a portal answers in place of the service. That of one
// Agent is odd if its agent is: so each Agent counts once, and a namespace less often than opens the breaker.
type oddities map[types.UID]string // namespaces

// isOdd reports a response with a status of success that cannot be read, and one that the API did not write. A filter may
// redirect, answer with any status, or drop the connection, where it refuses what one Agent sends. What fails without
// such content, by a foreign 5xx or no response, is an outage.
func isOdd(err error) bool {
	e, ok := cloud.AsError(err)
	if ok && e.OfContent() && !e.NotSent && isOutage(err) {
		return true
	}
	return ok && e.Reason == cloud.ReasonInvalidResponse && e.Status >= http.StatusOK &&
		(e.Status < http.StatusMultipleChoices || !e.API && e.Status/100 != 5)
}

// aboutContent reports a response in another form than the API's to what one Agent declares, whose status is no outage: a
// filter that reads requests may have written it. It says nothing of the API behind the filter: as a success it would
// close an open breaker, and have what is counted forgotten.
func aboutContent(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && !e.API && e.OfContent() && e.Status >= http.StatusBadRequest && !isOutage(err)
}

// tenants are the Agents that use the project, and whose content caused trouble.
type tenants struct {
	agents     map[string]int // by namespace
	odd        oddities
	throttlers map[string]time.Time // when the content of a namespace throttled the project last
}

func newTenants() tenants {
	return tenants{odd: oddities{}, throttlers: map[string]time.Time{}}
}

func (t *tenants) total() (all int) {
	for _, n := range t.agents {
		all += n
	}
	return all
}

// beside reports whether Agents of another namespace use the project.
func (t *tenants) beside(namespace string) bool {
	for other, agents := range t.agents {
		if agents > 0 && other != namespace {
			return true
		}
	}
	return false
}

// forBreaker returns what the breaker is told of the outcome of a request.
func (s *shared) forBreaker(who ratelimit.Caller, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if aboutContent(err) {
		return errUnused
	}
	odd := s.tenants.odd
	if !isOdd(err) {
		if !isOutage(err) && !errors.Is(err, errUnused) {
			clear(odd)
		}
		return err
	}
	if s.breaker.State() != gobreaker.StateClosed {
		return err // It is a probe, and shows no API that works.
	}
	_, known := odd[who.UID]
	same := 0
	for _, namespace := range odd {
		if namespace == who.Namespace {
			same++
		}
	}
	if known || s.tenants.beside(who.Namespace) && same >= mostOdd {
		return errUnused
	}
	odd[who.UID] = who.Namespace
	return err
}

// contentThrottleEvery is how often what one namespace declares may throttle a project that others use, too.
const contentThrottleEvery = 10 * time.Minute

// throttle returns for how long a response that asks to wait throttles the whole project. What the API did not write
// may be a filter's response to the content of one request: it throttles other namespaces briefly and rarely. A rate
// limiter in front of the API asks the same of other requests. The caller holds the lock.
func (s *shared) throttle(who ratelimit.Caller, e *cloud.Error) time.Duration {
	wait := e.RetryAfter
	if wait == 0 {
		wait = throttleDefault
	}
	if e.API || !e.OfContent() || !s.tenants.beside(who.Namespace) {
		return wait
	}
	now := s.registry.opts.Clock.Now()
	maps.DeleteFunc(s.tenants.throttlers, func(_ string, last time.Time) bool { return now.Sub(last) >= contentThrottleEvery })
	if _, recent := s.tenants.throttlers[who.Namespace]; recent {
		return 0
	}
	s.tenants.throttlers[who.Namespace] = now
	return min(wait, throttleDefault)
}
