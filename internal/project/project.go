/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	mathrand "math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// Project is the one way to the service for all Agents of a CloudProject. It may be used by many goroutines.
type Project struct {
	registry *Registry
	key      client.ObjectKey
	metrics  *metrics.Project
	limiter  *ratelimit.Limiter
	breaker  *gobreaker.TwoStepCircuitBreaker[any]
	listing  listing
	fleet    fleet

	mu          sync.Mutex
	credentials Credentials
	digestKey   []byte
	bare        *cloud.Client                        // with no scheme chosen yet
	client      *cloud.Client                        // with the scheme in use
	version     int                                  // counts changes of what is proved
	epoch       int                                  // counts the wake-ups of the Agents
	hadList     bool                                 // the service listed agents in this place before
	listLostAt  time.Time                            // when it was first seen not to list them any more
	refusals    map[v1alpha1.Authentication]refusals // by calls, with 401
	proofs      int                                  // counts the proofs that let calls through
	wanted      v1alpha1.Authentication
	held        v1alpha1.Authentication // what was accepted last in this place; it is tried first
	place       Place
	revealed    bool // the token itself tells the project of place
	proof       Proof
	blocked     *fault.Error // why no call is made now; nil when calls are made
	closed      *fault.Error // why nothing new is registered; nil when it is
	parkedUntil time.Time
	openUntil   time.Time      // when the breaker lets the next probe through
	agentWrites bool           // some fields are only taken from the agent itself
	agents      map[string]int // that use it, by namespace
	odd         oddities
	throttlers  map[string]time.Time // when content of a namespace last throttled the project
}

func newProject(r *Registry, key client.ObjectKey) *Project {
	counted := r.opts.Metrics.Of(key.String())
	p := &Project{
		registry: r, key: key, metrics: counted, limiter: ratelimit.New(counted.Waits), fleet: newFleet(), blocked: notProvedYet(key), odd: oddities{},
		throttlers: map[string]time.Time{},
		digestKey:  make([]byte, DigestKeySize),
	}
	_, _ = rand.Read(p.digestKey) // Never fails. It counts until one is kept.
	p.listing.project = p
	p.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name:          key.String(),
		MaxRequests:   1,
		Timeout:       r.opts.BreakerTimeout,
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= opensAfter },
		IsSuccessful:  func(err error) bool { return !isOutage(err) },
		IsExcluded:    func(err error) bool { return errors.Is(err, errUnused) },
		OnStateChange: func(_ string, from, to gobreaker.State) { p.breakerMoved(from, to) },
	})
	return p
}

func notProvedYet(key client.ObjectKey) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady, "CloudProject %s is not proved yet: its own conditions say why", key).
		Coded(fault.ProjectNotReady)
}

// configure takes over a spec and its credentials. What differs from before makes the Project unproved.
func (p *Project) configure(cp *v1alpha1.CloudProject, base *url.URL, projectID string, c Credentials) error {
	p.limiter.Set(cp.Spec.RateLimit)
	place := Place{URL: base.String(), ProjectID: projectID}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(c.DigestKey) == DigestKeySize {
		p.digestKey = c.DigestKey
	}
	same := p.client != nil && p.place == place && p.wanted == cp.Spec.Authentication &&
		p.credentials.Token.Equal(c.Token) && bytes.Equal(p.credentials.CABundle, c.CABundle)
	if same {
		return nil
	}
	fresh, err := p.registry.newClient(p.metrics, base, c)
	if err != nil {
		return fault.Terminalf(v1alpha1.ReasonInvalid, "the service cannot be called: %v", err)
	}
	if p.bare != nil {
		p.bare.CloseIdleConnections()
	}
	if p.place != place {
		p.listing.reset()
		p.held = ""
	}
	_, p.revealed = c.Token.ProjectID()
	p.credentials, p.bare, p.client, p.wanted, p.place = c, fresh, fresh, cp.Spec.Authentication, place
	p.proof, p.parkedUntil, p.agentWrites = Proof{}, time.Time{}, false
	p.refusals, p.listLostAt = map[v1alpha1.Authentication]refusals{}, time.Time{}
	p.version++
	known := place == Place{URL: cp.Status.URL, ProjectID: cp.Status.ProjectID}
	p.hadList = known && cp.Status.ListSupported != nil && *cp.Status.ListSupported
	if known && p.held == "" {
		p.held = cp.Status.Authentication
	}
	p.blocked = notProvedYet(p.key)
	return nil
}

func (p *Project) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = fault.Waitingf(v1alpha1.ReasonProjectNotFound, "CloudProject %s was deleted", p.key).Coded(fault.ProjectMissing)
	p.listing.reset()
	if p.bare != nil {
		p.bare.CloseIdleConnections()
	}
	p.metrics.Forget()
}

// Place returns where the Project's agents live.
func (p *Project) Place() Place {
	place, _ := p.At()
	return place
}

// At returns the Place, and the Version in which it is that.
func (p *Project) At() (Place, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place, p.version
}

// Vouched reports whether the credentials are known to be of the project that Place names: the token tells so, or
// the service lists that project's agents for it. What spec.projectID says of a token is only somebody's word.
func (p *Project) Vouched() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.place.ProjectID != "" && (p.revealed || p.proof.lists())
}

// Sign makes a mark that only a holder of the project token can make, and that does not tell the token.
func (p *Project) Sign(text string) string {
	p.mu.Lock()
	token := p.credentials.Token
	p.mu.Unlock()
	mac := hmac.New(sha256.New, []byte(token.Reveal()))
	mac.Write([]byte(text))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// DigestKey is the secret with which the configurations of the project's Agents are told apart: the one that is kept
// with the credentials, or one of this process until there is that.
func (p *Project) DigestKey() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.digestKey
}

// Epoch changes whenever calls may have become possible again, so that who failed may try before its time.
func (p *Project) Epoch() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

// wake lets the Agents of the project go on.
func (p *Project) wake() {
	p.mu.Lock()
	p.epoch++
	p.mu.Unlock()
	p.registry.woken(p.key)
}

// Proof returns what is proved of the credentials.
func (p *Project) Proof() Proof {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.proof
}

// Version counts the changes of what Prove proves: credentials, place and authentication.
func (p *Project) Version() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.version
}

// Block refuses all calls with this failure until the credentials are proved again or Block(nil) is called.
func (p *Project) Block(reason *fault.Error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = reason
}

// CloseRegistrations refuses registrations with this failure, while other calls go on; nil opens them again,
// and wakes the Agents that waited for it.
func (p *Project) CloseRegistrations(reason *fault.Error) {
	p.mu.Lock()
	opened := p.closed != nil && reason == nil
	p.closed = reason
	p.mu.Unlock()
	if opened {
		p.wake()
	}
}

// RegistrationsClosed returns why nothing new is registered, or nil.
func (p *Project) RegistrationsClosed() error {
	if closed := p.closedWith(); closed != nil {
		return closed
	}
	return nil
}

func (p *Project) closedWith() *fault.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// usable says whether calls are made at all. It does not ask the budget.
func (p *Project) usable() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.blocked != nil {
		return p.blocked
	}
	now := p.registry.opts.Clock.Now()
	if wait := p.parkedUntil.Sub(now); wait > 0 {
		return fault.Waitingf(v1alpha1.ReasonRateLimited,
			"the service asked to wait; it is called again by itself").Coded(fault.Throttled).After(spread(wait))
	}
	if p.breaker.State() == gobreaker.StateOpen {
		return fault.Waitingf(v1alpha1.ReasonUnavailable,
			"the service at %s does not answer; it is tried again by itself", p.place.URL).Coded(fault.Unreachable).
			After(spread(max(p.openUntil.Sub(now), time.Second)))
	}
	return nil
}

// spread adds up to a tenth, never less than asked for, so that those who wait do not come back as one.
func spread(d time.Duration) time.Duration {
	return d + time.Duration(mathrand.Int64N(int64(d)/10+int64(10*time.Millisecond)))
}

// breakerMoved runs inside a call of the breaker, which may hold its lock: it must not call it back.
func (p *Project) breakerMoved(from, to gobreaker.State) {
	switch to {
	case gobreaker.StateOpen:
		p.metrics.Breaker(metrics.BreakerOpen)
		go func() {
			p.mu.Lock()
			p.openUntil = p.registry.opts.Clock.Now().Add(p.registry.opts.BreakerTimeout)
			p.mu.Unlock()
			if from == gobreaker.StateClosed { // A probe that failed tells nothing new.
				p.registry.doubted(p.key)
			}
		}()
	case gobreaker.StateClosed:
		p.metrics.Breaker(metrics.BreakerClosed)
		go func() {
			p.registry.doubted(p.key)
			p.wake()
		}()
	case gobreaker.StateHalfOpen:
		p.metrics.Breaker(metrics.BreakerHalfOpen)
	}
}
