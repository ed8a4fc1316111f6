/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// errUnused tells the breaker that an admitted call was not made.
var errUnused = errors.New("the call was not made")

// opensAfter is how many failures in a row open the breaker.
const opensAfter = 5

// parkDefault is how long a 429 without Retry-After parks the project.
const parkDefault = 10 * time.Second

// Ticket admits one call. It is used by one call or given back with Release.
type Ticket struct {
	project *Project
	client  *cloud.Client
	who     Caller
	moment  // when it was admitted
	done    func(error)
}

// moment is what the answer to a call depends on.
type moment struct {
	version int // of the credentials that it showed
	proofs  int // that had let calls through
}

// Admit asks for one call on behalf of an Agent. It never sleeps: a project that is not proved, parked,
// out of budget or does not answer is a waiting failure that says when to come back.
func (p *Project) Admit(who Caller) (*Ticket, error) {
	if err := p.usable(); err != nil {
		return nil, err
	}
	if wait := p.budget.take(who, p.registry.opts.Clock.Now()); wait > 0 {
		return nil, fault.Waitingf(v1alpha1.ReasonRateLimited,
			"waiting for the rate limit of CloudProject %s", p.key).After(wait).Quietly()
	}
	done, err := p.breaker.Allow()
	if err != nil {
		return nil, fault.Waitingf(v1alpha1.ReasonUnavailable,
			"the service does not answer; it is tried again by itself").After(spread(time.Second)).Quietly()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return &Ticket{project: p, client: p.client, who: who, moment: moment{p.version, p.proofs}, done: done}, nil
}

// Spare reports whether the rate limit has a call to spare, for what is worth a call and no waiting.
func (p *Project) Spare() bool { return p.budget.spare(p.registry.opts.Clock.Now()) }

// Version of the project that the call is made with.
func (t *Ticket) Version() int { return t.version }

// Release gives a ticket back that was not used.
func (t *Ticket) Release() { t.done(errUnused) }

// Register makes the call that the ticket admits. Registrations may have been closed since it was admitted:
// then nothing is sent, and the failure says so. Whoever closes them and looks for open registrations
// afterwards therefore misses none.
func (t *Ticket) Register(ctx context.Context, r cloud.Registration) (*cloud.Registered, error) {
	if closed := t.project.closedWith(); closed != nil {
		t.Release()
		return nil, closed.Because(&cloud.Error{
			Op: "register agent", Class: cloud.ClassWaiting, Reason: cloud.ReasonUnavailable, NotSent: true,
		})
	}
	return t.Repeat(ctx, r)
}

// Repeat makes the call also where registrations are closed: it finds out what became of an earlier one.
func (t *Ticket) Repeat(ctx context.Context, r cloud.Registration) (*cloud.Registered, error) {
	// The record that is written ahead takes time, in which the service may have asked to wait.
	if parked := t.project.parked(); parked != nil {
		t.Release()
		return nil, parked.Because(&cloud.Error{
			Op: "register agent", Class: cloud.ClassWaiting, Reason: cloud.ReasonRateLimited, NotSent: true,
		})
	}
	made, err := t.client.Register(ctx, r)
	t.finish(err)
	if err == nil && t.current() {
		t.project.listing.add(Entry{ID: made.ID, MachineID: r.MachineID, CreatedAt: made.CreatedAt})
	}
	return made, err
}

func (t *Ticket) finish(err error) {
	t.done(t.project.forBreaker(t.who, err))
	t.project.learn(t.moment, err)
}

// current reports whether the call was made with the credentials, and in the place, of now.
func (t *Ticket) current() bool { return t.version == t.project.Version() }

// outdated takes the place of an answer that says nothing any more: other credentials, or another place, may
// have another one.
func (t *Ticket) outdated() error {
	return fault.Retryablef(v1alpha1.ReasonProgressing, "CloudProject %s has changed meanwhile", t.project.key).Quietly()
}

// saysGone reports whether a failure says that an agent does not exist, or may be taken for that together with another
// source.
func saysGone(err error) bool { return cloud.IsGone(err) || cloud.MaybeGone(err) }

// Get reads a remote agent.
func (p *Project) Get(ctx context.Context, who Caller, id string) (*cloud.Agent, error) {
	t, err := p.Admit(who)
	if err != nil {
		return nil, err
	}
	agent, err := t.client.Get(ctx, id)
	t.finish(err)
	if (err == nil || saysGone(err)) && !t.current() {
		return nil, t.outdated()
	}
	if cloud.IsGone(err) {
		p.listing.drop(id)
	}
	return agent, err
}

// Update patches a remote agent with the project token.
func (p *Project) Update(ctx context.Context, who Caller, id string, u cloud.Update) error {
	t, err := p.Admit(who)
	if err != nil {
		return err
	}
	err = t.client.Update(ctx, id, u)
	t.finish(err)
	if saysGone(err) && !t.current() {
		return t.outdated()
	}
	return err
}

// UpdateAsAgent patches a remote agent with its own token, for fields that only the agent may write.
func (p *Project) UpdateAsAgent(ctx context.Context, who Caller, id string, u cloud.Update, token cloud.Token) error {
	t, err := p.Admit(who)
	if err != nil {
		return err
	}
	err = t.client.WithCredential(cloud.Credential{Scheme: cloud.SchemeAgentToken, Token: token}).Update(ctx, id, u)
	t.done(p.forBreaker(who, err))
	if e, ok := cloud.AsError(err); ok && e.Reason == cloud.ReasonUnauthorized {
		return err // It speaks of the agent's token, not of the project's; also of one that cannot be sent.
	}
	p.learn(t.moment, err)
	if saysGone(err) && !t.current() {
		return t.outdated()
	}
	return err
}

// OnlyAgentWrites reports whether the service was seen to take some fields only from the agent itself.
func (p *Project) OnlyAgentWrites() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.agentWrites
}

// SetOnlyAgentWrites remembers what OnlyAgentWrites reports.
func (p *Project) SetOnlyAgentWrites() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agentWrites = true
}

// Delete deletes a remote agent.
func (p *Project) Delete(ctx context.Context, who Caller, id string) error {
	t, err := p.Admit(who)
	if err != nil {
		return err
	}
	err = t.client.Delete(ctx, id)
	t.finish(err)
	if saysGone(err) && !t.current() {
		return t.outdated()
	}
	if err == nil || cloud.IsGone(err) {
		p.listing.drop(id)
	}
	return err
}

// Leave gives up what is kept for an Agent that is no more.
func (p *Project) Leave(who types.UID) {
	p.budget.leave(who)
	p.fleet.leave(who)
}

// learn draws the conclusions for the whole project from the answer to one call. What was asked with
// credentials that are no longer in use says nothing.
func (p *Project) learn(of moment, err error) {
	e, failed := cloud.AsError(err)
	var doubt bool
	p.mu.Lock()
	switch {
	case p.version != of.version:
	case err == nil && !p.proof.Proved && p.blocked == nil:
		p.proof.Proved = true
		doubt = true
	case !failed:
	case e.Status == http.StatusUnauthorized && !e.API:
		doubt = p.blocked == nil // Something in between may say so of one request: a check of the credentials tells.
	case e.Reason == cloud.ReasonUnauthorized:
		doubt = p.blocked == nil
		p.refuse(of.proofs)
		p.blocked = unauthorized(p.key)
		p.proof.Proved = false
	case e.Status == http.StatusTooManyRequests || e.Reason == cloud.ReasonUnavailable && e.RetryAfter > 0:
		wait := e.RetryAfter
		if wait == 0 {
			wait = parkDefault
		}
		if until := p.registry.opts.Clock.Now().Add(wait); until.After(p.parkedUntil) {
			p.parkedUntil = until
			p.metrics.Parked()
			doubt = true
		}
	}
	p.mu.Unlock()
	if doubt {
		p.registry.doubted(p.key)
	}
}

func unauthorized(key any) *fault.Error {
	return fault.Waitingf(v1alpha1.ReasonProjectNotReady,
		"the service refuses the token of CloudProject %s: correct the token in its Secret", key)
}

// isOutage tells the breaker's failures: nothing answered, or not the service itself.
func isOutage(err error) bool {
	e, ok := cloud.AsError(err)
	if !ok {
		return false
	}
	if errors.Is(err, cloud.ErrTooLarge) {
		return false // The service answers: what is too large is one agent, or a page of them.
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
