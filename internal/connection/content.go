/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"errors"
	"net/http"
	"time"

	"github.com/sony/gobreaker/v2"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// While more than one namespace uses the project, odd responses do not count for the breaker, because namespaces may collude. Odd
// responses of mostOdd Agents, or of all if there are fewer, request the credential check, which no tenant can influence, at most
// once in witnessEvery: if it fails, too, the breaker opens.
const (
	mostOdd      = opensAfter - 1
	witnessEvery = 30 * time.Second
	// foreign401Every bounds how often a 401 that the API did not write requests the credential check.
	foreign401Every = 5 * time.Second
)

// oddities are the Agents with an odd response since the last well-formed one. If a portal responds in place of the API,
// all responses are odd; if one agent is malformed, only its responses are. So each Agent counts once, and the Agents of a
// shared project cannot open the breaker alone.
type oddities map[types.UID]bool

// isOdd reports whether a response with a status of success cannot be read, or was not written by the API. A filter that
// rejects what one Agent sends may redirect, return any status, or drop the connection. A foreign 5xx, or no response, to
// a request without such content is an outage; see shared.isOdd for reads.
func isOdd(err error) bool {
	e, ok := cloud.AsError(err)
	if ok && e.OfContent() && !e.NotSent && isOutage(err) {
		return true
	}
	return ok && e.Reason == cloud.ReasonInvalidResponse && e.Status >= http.StatusOK &&
		(e.Status < http.StatusMultipleChoices || !e.API && e.Status/100 != 5)
}

// isOdd reports whether a response is odd to a namespace. If others use the project, too, that includes reads without a
// response of the API: something in between may drop what an agent holds. The caller holds the lock.
func (s *shared) isOdd(namespace string, err error) bool {
	if isOdd(err) {
		return true
	}
	e, ok := cloud.AsError(err)
	return ok && e.ShowsContent() && !e.NotSent && isOutage(err) && s.tenants.beside(namespace)
}

// aboutContent reports whether a filter may have written the response because of what one Agent declares. Such a response
// says nothing about the API behind the filter, so it must neither close an open breaker nor reset its count.
func aboutContent(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && !e.API && e.OfContent() && e.Status >= http.StatusBadRequest && !isOutage(err)
}

// tenants are the Agents that use the project, and those whose content caused failures.
type tenants struct {
	agents     map[string]int // by namespace
	odd        oddities
	throttlers map[string]time.Time // when the Agents of a namespace throttled the project last
	asked      time.Time            // when Agents last requested a credential check
}

func newTenants() tenants {
	return tenants{agents: map[string]int{}, odd: oddities{}, throttlers: map[string]time.Time{}}
}

// ask reports whether a credential check may be requested: none was for a time.
func (t *tenants) ask(now time.Time, every time.Duration) bool {
	if now.Sub(t.asked) < every {
		return false
	}
	t.asked = now
	return true
}

// meet records that Agents of a namespace use the project, before they are counted.
func (s *shared) meet(namespace string) {
	if namespace == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tenants.agents[namespace] == 0 {
		s.tenants.agents[namespace] = 1
	}
}

func (t *tenants) total() (all int) {
	for _, n := range t.agents {
		all += n
	}
	return all
}

// beside reports whether Agents of another namespace use the project, too.
func (t *tenants) beside(namespace string) bool {
	for other, agents := range t.agents {
		if agents > 0 && other != namespace {
			return true
		}
	}
	return false
}

// forBreaker returns the outcome of a request as it is reported to the breaker.
func (s *shared) forBreaker(who ratelimit.Caller, err error) error {
	s.mu.Lock()
	reported := s.counted(who, err)
	now := s.registry.opts.Clock.Now()
	ask := s.isOdd(who.Namespace, err) && s.needsWitness(who.Namespace) && s.tenants.ask(now, witnessEvery)
	s.mu.Unlock()
	if ask {
		s.registry.needsVerification(s.key)
	}
	return reported
}

// counted is the part of forBreaker that needs the lock, which the caller holds.
func (s *shared) counted(who ratelimit.Caller, err error) error {
	if aboutContent(err) {
		return errUnused
	}
	odd := s.tenants.odd
	if !s.isOdd(who.Namespace, err) {
		if !isOutage(err) && !errors.Is(err, errUnused) {
			clear(odd)
		}
		return err
	}
	if s.breaker.State() != gobreaker.StateClosed {
		if s.tenants.beside(who.Namespace) {
			return errUnused
		}
		return err // A half-open probe has to show that the API works.
	}
	known, shared := odd[who.UID], s.tenants.beside(who.Namespace)
	if !shared || len(odd) < mostOdd {
		odd[who.UID] = true
	}
	if known || shared {
		return errUnused
	}
	return err
}

// checkProbes reports whether the credential check shall be the half-open probe, in place of a request for an Agent, and requests it: of
// several namespaces one might make all probes, with requests that never end.
func (s *shared) checkProbes(namespace string) bool {
	if s.breaker.State() != gobreaker.StateHalfOpen {
		return false
	}
	s.mu.Lock()
	probes, now := s.tenants.beside(namespace), s.registry.opts.Clock.Now()
	ask := probes && s.tenants.ask(now, time.Second)
	s.mu.Unlock()
	if ask {
		s.registry.needsVerification(s.key)
	}
	return probes
}

// needsWitness reports whether the credential check decides about the odd responses of a project that other namespaces than this
// one use, too. The caller holds the lock.
func (s *shared) needsWitness(namespace string) bool {
	return s.tenants.manyOdd() && s.tenants.beside(namespace)
}

// manyOdd reports whether enough Agents had an odd response: mostOdd, or all of a shared project that has fewer.
func (t *tenants) manyOdd() bool {
	return len(t.odd) >= mostOdd || len(t.agents) > 1 && len(t.odd) >= t.total()
}

// witness reports a credential check to the breaker if odd responses wait for one: an outage opens it, and a well-formed response
// ends their count. It is a half-open probe, too.
func (s *shared) witness(err error) {
	s.mu.Lock()
	waits := s.tenants.manyOdd()
	if waits && err == nil {
		clear(s.tenants.odd)
	}
	s.mu.Unlock()
	if s.breaker.State() == gobreaker.StateHalfOpen {
		if done, refused := s.breaker.Allow(); refused == nil {
			done(err)
		}
		return
	}
	for range opensAfter {
		if !waits || !isOutage(err) || s.breaker.State() != gobreaker.StateClosed {
			return
		}
		if done, refused := s.breaker.Allow(); refused == nil {
			done(err)
		}
	}
}
