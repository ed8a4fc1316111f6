/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/sony/gobreaker/v2"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/safeguard"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// Connection is the one way to Calyptia Cloud for all Agents of a CloudProject. It may be used by many goroutines.
type Connection struct {
	*session
	*gate
	turns
	projectInventory
	*safeguard.Safeguard
	duplicates
	catalogs

	shared *shared
}

// shared is the state that the parts of a Connection share. mu guards all fields below it.
type shared struct {
	registry *Registry
	key      client.ObjectKey
	metrics  *metrics.Project
	limiter  *ratelimit.Limiter
	breaker  *gobreaker.TwoStepCircuitBreaker[any]

	mu       sync.Mutex
	epoch    epoch
	identity identity
	former   former
	verified verification.State
	access   access
	tenants  tenants
}

// epoch counts the events that make earlier knowledge outdated.
type epoch struct {
	// session counts changes of credentials, endpoint and authentication: responses to requests of an earlier session
	// are ignored.
	session int
	// check counts the successful credential checks: requests rejected after the same check count once.
	check int
	// attempt counts the moments at which requests may have become possible again, so that failed Agents retry.
	attempt int
}

func newConnection(r *Registry, key client.ObjectKey) *Connection {
	counted := r.opts.Metrics.Of(key.String())
	s := &shared{
		registry: r, key: key, metrics: counted, limiter: ratelimit.New(counted.Waits),
		identity: identity{digestKey: randomKey()}, access: access{blocked: notVerified(key)}, tenants: newTenants(),
	}
	c := &Connection{shared: s, session: &session{s}, gate: &gate{s}, turns: turns{s}}
	c.projectInventory = projectInventory{inventory.New(source{c}, inventory.Options{
		Name: key.String(), Clock: r.opts.Clock, Metrics: counted, MostAgents: r.opts.MostAgents,
		Memory: r.memory, Namespace: key.Namespace, Delays: r.opts.ListDelays,
	}), c}
	c.catalogs.connection = c
	c.Safeguard = safeguard.New(watched{c}, r.opts.Clock, key.String())
	s.breaker = gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Name:          key.String(),
		MaxRequests:   1,
		Timeout:       r.opts.BreakerTimeout,
		ReadyToTrip:   func(counts gobreaker.Counts) bool { return counts.ConsecutiveFailures >= opensAfter },
		IsSuccessful:  func(err error) bool { return !isOutage(err) },
		IsExcluded:    func(err error) bool { return errors.Is(err, errUnused) },
		OnStateChange: func(_ string, from, to gobreaker.State) { c.breakerMoved(from, to) },
	})
	return c
}

// close ends the use of the Connection of a deleted CloudProject.
func (c *Connection) close() {
	c.gate.close()
	c.Inventory.Reset()
	c.catalogs.close()
	c.session.close()
	c.shared.metrics.Forget()
}

// moved drops what is known of the agents at the former endpoint.
func (c *Connection) moved() {
	c.Inventory.Reset()
	c.duplicates.clear()
	c.Safeguard.Moved()
}

// Leave drops what is kept for an Agent that was deleted.
func (c *Connection) Leave(who types.UID) {
	c.shared.limiter.Leave(who)
	c.Forget(who)
	c.SetDuplicates(who, nil)
	c.shared.registry.EndTurn(who)
}

// Expect sets the number of Agents in each namespace. While there are any, a credential check starts the first snapshot.
func (c *Connection) Expect(agents map[string]int) {
	c.shared.mu.Lock()
	defer c.shared.mu.Unlock()
	c.shared.tenants.agents = make(map[string]int, len(agents))
	maps.Copy(c.shared.tenants.agents, agents)
}

// Reset allows missing agents to be registered again and rejected credentials to be retried, at a user's request.
func (c *Connection) Reset() {
	c.shared.mu.Lock()
	c.shared.verified.ForgetRefusals()
	c.shared.mu.Unlock()
	c.Safeguard.Reset()
}

// source is the Connection as the inventory uses it.
type source struct{ c *Connection }

func (s source) Usable() error        { return s.c.usable(ratelimit.Caller{}) }
func (s source) ListSupported() *bool { return s.c.Result().ListSupported }
func (s source) KnowsAgents() bool    { return s.c.Result().ShowsAgents || s.c.Safeguard.KnowsAgents() }
func (s source) NeedsVerification()   { s.c.shared.registry.needsVerification(s.c.shared.key) }

// Fetch gets one page within the rate limit. The caller reports whether the page was readable.
func (s source) Fetch(ctx context.Context, o cloud.ListOptions) (*cloud.RawPage, func(error), error) {
	c := s.c
	if err := c.usable(ratelimit.Caller{}); err != nil {
		return nil, nil, err
	}
	if rejected := c.rejects(verification.List); rejected != nil {
		return nil, nil, rejected
	}
	if err := c.shared.limiter.Wait(ctx, ratelimit.List); err != nil {
		return nil, nil, inventory.Canceled(err)
	}
	if err := c.usable(ratelimit.Caller{}); err != nil {
		return nil, nil, err // The API asked to wait during the wait for the rate limit.
	}
	to, endpoint, at := c.target()
	page, err := to.Fetch(ctx, endpoint.ProjectID, o)
	if err != nil {
		c.learn(ratelimit.Caller{}, at, verification.List, err)
	}
	return page, func(err error) { c.learn(ratelimit.Caller{}, at, verification.List, err) }, err
}

// watched is the Connection as the safeguard uses it.
type watched struct{ *Connection }

func (w watched) Lists() bool        { return w.Result().Lists() }
func (w watched) NeedsVerification() { w.shared.registry.needsVerification(w.shared.key) }

// Counts returns the number of Agents of the project, and of those in one namespace.
func (w watched) Counts(namespace string) (all, there int) {
	w.shared.mu.Lock()
	defer w.shared.mu.Unlock()
	return w.shared.tenants.total(), w.shared.tenants.agents[namespace]
}
