/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/verification"
)

// errUnused reports to the breaker that a permitted request was not sent.
var errUnused = errors.New("the request was not made")

// opensAfter is the number of consecutive failures that open the breaker.
const opensAfter = 5

// throttleDefault is how long a 429 without Retry-After throttles the project.
const throttleDefault = 10 * time.Second

// Permit allows one request. Use it once, or return it with Release.
type Permit struct {
	connection *Connection
	client     *cloud.Client
	who        ratelimit.Caller
	at         epoch    // when it was issued
	to         Endpoint // where the request goes
	done       func(error)
}

// Acquire returns a Permit for one registration on behalf of an Agent. It never sleeps: while the project is unverified,
// throttled, at its rate limit or unreachable, or after the caller's Turn, it returns a waiting failure with a retry time.
func (c *Connection) Acquire(who ratelimit.Caller) (*Permit, error) {
	return acquire(c, who, verification.Register)
}

// acquire returns a Permit for one request of a kind; empty for a request with other credentials than the project's.
func acquire(c *Connection, who ratelimit.Caller, kind verification.Kind) (*Permit, error) {
	if err := c.usable(who); err != nil {
		return nil, err
	}
	if rejected := c.rejects(kind); rejected != nil {
		return nil, rejected
	}
	now := c.shared.registry.opts.Clock.Now()
	c.shared.meet(who.Namespace)
	if !who.Turn.Next(now) {
		return nil, fault.Waitingf(v1alpha1.ReasonUnavailable,
			"the requests take long: continuing automatically").Coded(fault.Throttled).After(fault.Spread(time.Second))
	}
	if c.shared.checkProbes(who.Namespace) {
		return nil, noResponse()
	}
	if wait := c.shared.limiter.Take(who, now); wait > 0 {
		return nil, fault.Waitingf(v1alpha1.ReasonRateLimited,
			"waiting for the rate limit of CloudProject %s", c.shared.key).Coded(fault.Throttled).After(wait).Quietly()
	}
	done, err := c.shared.breaker.Allow()
	if err != nil {
		return nil, noResponse()
	}
	to, endpoint, at := c.target()
	if who.Namespace != "" {
		to = cloud.For(who.Namespace, to) // What an Agent holds delays its own namespace alone.
	}
	p := &Permit{connection: c, client: to, who: who, at: at, to: endpoint, done: done}
	if who.Session != 0 && who.Session != at.session {
		p.Release()
		return nil, p.outdated()
	}
	return p, nil
}

// noResponse is the failure while a probe shows whether Calyptia Cloud responds again.
func noResponse() *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonUnavailable,
		"Calyptia Cloud does not respond: retrying automatically").Coded(fault.Unreachable).After(fault.Spread(time.Second)).Quietly()
}

// Spare reports whether the rate limit has capacity for an optional request.
func (c *Connection) Spare() bool { return c.shared.limiter.Spare(c.shared.registry.opts.Clock.Now()) }

// Version of the session that the request is made with.
func (p *Permit) Version() int { return p.at.session }

// Release returns an unused permit.
func (p *Permit) Release() { p.done(errUnused) }

// Register sends a registration, unless registration was paused since the permit was issued. After a pause, no new
// registration can become in doubt unnoticed.
func (p *Permit) Register(ctx context.Context, r cloud.Registration) (*cloud.Registered, error) {
	if paused := p.connection.pausedWith(); paused != nil {
		p.Release()
		return nil, paused.Because(&cloud.Error{
			Op: "register agent", Class: cloud.ClassWaiting, Reason: cloud.ReasonUnavailable, NotSent: true,
		})
	}
	return p.Repeat(ctx, r)
}

// Repeat sends the registration even while registration is paused, to learn the outcome of an earlier attempt.
func (p *Permit) Repeat(ctx context.Context, r cloud.Registration) (*cloud.Registered, error) {
	// The API may have asked to wait while the intent was persisted.
	if throttled := p.connection.throttled(p.who); throttled != nil {
		p.Release()
		return nil, throttled.Because(&cloud.Error{
			Op: "register agent", Class: cloud.ClassWaiting, Reason: cloud.ReasonRateLimited, NotSent: true,
		})
	}
	p.connection.shared.registry.EndTurn(p.who.UID)
	same := p.connection.siblings(p.to)
	made, err := p.client.Register(ctx, r)
	err = p.finish(verification.Register, err)
	if err == nil {
		p.connection.Add(inventory.Entry{ID: made.ID, MachineID: r.MachineID, CreatedAt: made.CreatedAt}, p.to, same)
	}
	return made, err
}

// finish ends a request, and returns its failure: that of all requests of its kind if the API rejects these alone, because no event shows
// the end of that.
func (p *Permit) finish(kind verification.Kind, err error) error {
	p.settle(err)
	p.connection.learn(p.who, p.at, kind, err)
	if e, failed := cloud.AsError(err); failed && e.Reason == cloud.ReasonUnauthorized {
		if rejected := p.connection.rejects(kind); rejected != nil {
			return rejected.Because(err)
		}
	}
	return err
}

// settle ends a request whose outcome shows nothing of the credentials.
func (p *Permit) settle(err error) { p.done(p.connection.shared.forBreaker(p.who, err)) }

// current reports whether the request used the current credentials and endpoint.
func (p *Permit) current() bool { return p.at.session == p.connection.Version() }

// outdated replaces a response to a request that used earlier credentials or another endpoint.
func (p *Permit) outdated() error {
	return fault.Retryablef(v1alpha1.ReasonProgressing, "CloudProject %s has changed meanwhile", p.connection.shared.key).Quietly()
}

// saysGone reports whether a failure says that an agent does not exist, or may mean so once another source confirms it.
func saysGone(err error) bool { return cloud.IsGone(err) || cloud.MaybeGone(err) }

// acquireWrite returns a Permit for a request that may change a remote agent: what was read before is outdated.
func acquireWrite(c *Connection, who ratelimit.Caller, kind verification.Kind) (*Permit, error) {
	p, err := acquire(c, who, kind)
	if err == nil {
		c.shared.registry.EndTurn(who.UID)
	}
	return p, err
}

// Get reads a remote agent, unless an unfinished turn of the Agent read it.
func (c *Connection) Get(ctx context.Context, who ratelimit.Caller, id string) (*cloud.Agent, error) {
	if seen, ok := c.find(who, id); ok && seen.remote != nil {
		return seen.remote, nil
	}
	p, err := acquire(c, who, verification.Read)
	if err != nil {
		return nil, err
	}
	agent, err := p.client.Get(ctx, id)
	err = p.finish(verification.Read, err)
	if (err == nil || saysGone(err)) && !p.current() {
		return nil, p.outdated()
	}
	if err == nil {
		c.add(who, id, agent)
	}
	return agent, err // One response that an agent does not exist may be wrong: the snapshot keeps the agent.
}

// Update patches a remote agent with the project token.
func (c *Connection) Update(ctx context.Context, who ratelimit.Caller, id string, u cloud.Update) error {
	p, err := acquireWrite(c, who, verification.Update)
	if err != nil {
		return err
	}
	err = p.client.Update(ctx, id, u)
	err = p.finish(verification.Update, err)
	if saysGone(err) && !p.current() {
		return p.outdated()
	}
	return err
}

// UpdateAsAgent patches a remote agent with its own token, for fields that only the agent may write.
func (c *Connection) UpdateAsAgent(ctx context.Context, who ratelimit.Caller, id string, u cloud.Update, token cloud.Token) error {
	p, err := acquireWrite(c, who, "")
	if err != nil {
		return err
	}
	err = p.client.WithCredential(cloud.Credential{Scheme: cloud.SchemeAgentToken, Token: token}).Update(ctx, id, u)
	p.done(c.shared.forBreaker(who, err))
	e, failed := cloud.AsError(err)
	switch {
	case failed && e.Reason == cloud.ReasonUnauthorized:
		return err // The agent's token was rejected, or cannot be sent; the project's is unaffected.
	case failed && e.API:
		// The API may limit the agent, whose token its users have, too: that throttles others as little as a filter's response does.
		ofAgent := *e
		ofAgent.API = false
		c.learn(who, p.at, "", &ofAgent)
	default:
		c.learn(who, p.at, "", err)
	}
	if saysGone(err) && !p.current() {
		return p.outdated()
	}
	return err
}

// Delete deletes a remote agent. Something else may have responded: the snapshot keeps the agent until the caller confirms it.
func (c *Connection) Delete(ctx context.Context, who ratelimit.Caller, id string) error {
	p, err := acquireWrite(c, who, verification.Delete)
	if err != nil {
		return err
	}
	err = p.client.Delete(ctx, id)
	err = p.finish(verification.Delete, err)
	if saysGone(err) && !p.current() {
		return p.outdated()
	}
	return err
}

// learn updates the state of the whole project from the response to one request. Responses to requests with
// earlier credentials are ignored. kind is empty for a request that shows nothing of the project's credentials when it succeeds.
func (c *Connection) learn(who ratelimit.Caller, at epoch, kind verification.Kind, err error) {
	e, failed := cloud.AsError(err)
	s, check := c.shared, false
	s.mu.Lock()
	switch {
	case s.epoch.session != at.session || err == nil && kind == "":
	case err == nil && !s.verified.Result.Verified && s.access.blocked == nil:
		s.verified.Result.Verified, s.identity.accepted, check = true, true, true
		s.verified.Succeed(kind)
	case err == nil && s.access.blocked == nil && s.epoch.check == at.check: // Sent after the last 401.
		s.verified.Succeed(kind)
	case !failed:
	case e.Status == http.StatusUnauthorized && !e.API:
		// A proxy may have written it, because of what an Agent declares: the credential check decides.
		check = s.access.blocked == nil && s.tenants.ask(s.registry.opts.Clock.Now(), foreign401Every)
	case e.Reason == cloud.ReasonUnauthorized:
		check = s.access.blocked == nil
		if check && s.epoch.check == at.check && s.verified.Refuse(kind, s.registry.opts.Clock.Now()) { // Concurrent requests count once.
			break // The credential check decides about other kinds of requests.
		}
		s.access.blocked, s.verified.Result.Verified = unauthorized(s.key), false
	case throttles(e):
		longer := false
		if longer, check = s.access.throttled.extend(s.registry.opts.Clock.Now(), who, s.throttle(who, e)); longer {
			s.metrics.Throttled()
		}
	}
	s.mu.Unlock()
	if check {
		s.registry.needsVerification(s.key)
	}
}

// throttles reports whether a response asks to wait with all requests. Below 500 only a 429 does: a lock (409, 423), for example, is
// about one agent, and Retry-After then about that.
func throttles(e *cloud.Error) bool {
	return e.Status == http.StatusTooManyRequests ||
		e.Reason == cloud.ReasonUnavailable && e.Status >= http.StatusInternalServerError && e.RetryAfter > 0
}

func unauthorized(key any) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady,
		"Calyptia Cloud rejected the token of CloudProject %s: correct the token in its Secret", key).Coded(fault.ProjectNotReady)
}

// isOutage reports whether an error counts as a failure for the breaker: no response, or one not written by the API.
func isOutage(err error) bool {
	e, ok := cloud.AsError(err)
	if !ok {
		return false
	}
	if errors.Is(err, cloud.ErrTooLarge) || errors.Is(err, cloud.ErrNoRoom) {
		return false // The API responds; one agent, or a page of agents, is too large, or there are too many at once.
	}
	switch e.Reason {
	case cloud.ReasonNetwork, cloud.ReasonTimeout:
		return true
	case cloud.ReasonUnavailable, cloud.ReasonInvalidResponse:
		return !e.API
	default:
		return false
	}
}
