/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/project"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// recover finds out what became of a registration whose outcome is not recorded. It reports whether a
// remote agent is recorded now; false with no error says that nothing was made, as far as can be known.
// All its reads are uncached, because a stale one would register twice.
func (p *pass) recover(ctx context.Context) (bool, error) {
	if err := p.refresh(ctx); err != nil {
		return false, err
	}
	if err := p.keepIntent(ctx); err != nil { // Pruned since the cache heard of it.
		return false, err
	}
	if !p.open() {
		return p.agent.Status.ID != "", nil
	}
	began := p.met()
	first := began
	if p.authentic() {
		first = p.intent().First
	}
	for _, found := range []func() (bool, error){
		func() (bool, error) { return p.foundByRecord(ctx) },
		func() (bool, error) { return p.foundByMemory(ctx) },
		func() (bool, error) { return p.foundByIntent(ctx) },
	} {
		if known, err := found(); known || err != nil {
			return known, err
		}
	}
	// A server may commit late: only a look after the slack tells that nothing was made.
	trusted := began.Add(p.Settings.Slack)
	if !p.memory.answered.IsZero() {
		trusted = p.memory.answered.Add(p.Settings.AnsweredSlack)
	}
	now := p.Clock.Now()
	after := p.memory.nonceAt
	if !now.Before(trusted) {
		after = trusted
	}
	if known, err := p.foundAfter(ctx, first, after); known || err != nil {
		return known, err
	}
	if now.Before(trusted) {
		return false, fault.Waitingf(v1alpha1.ReasonRegistrationUnknown,
			"the answer to the registration was lost; the service is searched for the agent before anything is tried again").
			After(trusted.Sub(now))
	}
	return false, nil
}

// met notes when this process met the nonce first, and returns when it was written.
func (p *pass) met() time.Time {
	now, intent := p.Clock.Now(), p.intent()
	if p.memory.nonce != intent.String() {
		p.memory.nonce, p.memory.nonceAt, p.memory.answered = intent.String(), now, time.Time{}
	}
	began, ok := intent.Began(now)
	if !ok || began.After(p.memory.nonceAt) {
		began = p.memory.nonceAt
	}
	return began
}

// foundByRecord looks at the remote agent that the status names: it may live on.
func (p *pass) foundByRecord(ctx context.Context) (bool, error) {
	if p.agent.Status.ID == "" {
		return false, nil
	}
	remote, err := p.ours(ctx, p.agent.Status.ID)
	if err != nil || remote == nil {
		return false, err
	}
	return true, p.take(ctx, remote)
}

// foundByMemory looks at what the service answered to this process, which could not write it down.
func (p *pass) foundByMemory(ctx context.Context) (bool, error) {
	posted := p.memory.posted
	if posted == nil || posted.UID != p.agent.UID || posted.Status.ID == "" ||
		intentOf(posted) != p.intent() {
		return false, nil
	}
	return p.confirm(ctx, posted.Status.ID)
}

// foundByIntent looks at the remote agent that the Secret got from this very registration.
func (p *pass) foundByIntent(ctx context.Context) (bool, error) {
	secret, verdict, err := p.secrets.Find(ctx, p.agent, tokensecret.Name(p.agent))
	if err != nil || secret == nil || tokensecret.Registration(secret) != p.intent().String() || tokensecret.ID(secret) == "" {
		return false, err
	}
	// One of an Agent that retains has no owner: then a read of the remote agent has to confirm it, as it has to anyway.
	if verdict != tokensecret.Ours && (verdict != tokensecret.Ownerless || !tokensecret.Labelled(secret, p.agent)) {
		return false, nil
	}
	return p.confirm(ctx, tokensecret.ID(secret))
}

// foundAfter looks for our machine ID in a list that was begun after the given time. A machine ID that a
// person chose may be somebody else's: then only an agent made since the nonce is ours.
func (p *pass) foundAfter(ctx context.Context, began, after time.Time) (bool, error) {
	entries, _, err := p.project.FindByMachine(ctx, p.machineID(), after)
	if err != nil {
		return false, err
	}
	slices.SortFunc(entries, func(a, b project.Entry) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	for _, entry := range entries {
		if p.explicit() && registration.CreatedBefore(entry.CreatedAt, began) {
			continue
		}
		if known, err := p.confirm(ctx, entry.ID); known || err != nil {
			return known, err
		}
	}
	return false, nil
}

// confirm takes a remote agent if a read shows that it is ours, and ours to take.
func (p *pass) confirm(ctx context.Context, id string) (bool, error) {
	remote, err := p.ours(ctx, id)
	if err != nil || remote == nil || !p.entitled(remote, p.intent()) {
		return false, err
	}
	return true, p.take(ctx, remote)
}
