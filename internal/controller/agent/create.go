/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// create persists a fresh intent and sends the one request that it permits.
func (r *registrar) create(ctx context.Context) error {
	if !r.sessionAsked && !r.facts.Deleting {
		r.sessionAsked = true
		if r.session = r.sessionFree(ctx); r.session != nil {
			r.facts.SessionFree = false
			if !classify(r.session).is(v1alpha1.ReasonSecretConflict) {
				return r.session
			}
			return nil
		}
	}
	if err := r.bodyFor(ctx); err != nil {
		return err
	}
	ticket, err := r.project.Admit(r.caller())
	if err != nil {
		return err
	}
	if ticket.Version() != r.placed {
		ticket.Release()
		return r.outdated()
	}
	began := r.Clock.Now()
	elsewhere, first := r.open() && !r.facts.Authentic, time.Time{}
	switch {
	case elsewhere:
		first = began // Whoever wrote that, and whenever: something may have been made.
	case r.open():
		first = r.intent().First // What an earlier attempt made may be what the API answers with.
	}
	if err := ctx.Err(); err != nil { // A shutdown comes before the intent or after the request, or the next leader has to wait.
		ticket.Release()
		return err
	}
	whole, done := detach(ctx)
	intent, err := r.writeAhead(whole, began, first)
	done()
	left := r.Settings.PostWindow - r.Clock.Since(began)
	if err == nil && left <= 0 {
		err = fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server took too long to record the registration")
	}
	if err != nil {
		ticket.Release()
		return err
	}
	if elsewhere { // Nobody looks there any more.
		r.tell(maybeOrphaned, r.machineID())
	}
	for _, s := range []registration.Source{registration.Record, registration.Response, registration.SecretIntent} {
		r.facts.Found[s] = registration.None // The intent is new.
	}
	return r.send(ctx, ticket, intent, left)
}

// bodyFor has the configuration that is registered.
func (r *registrar) bodyFor(ctx context.Context) error {
	if !r.facts.Deleting {
		return r.wholeConfig(ctx)
	}
	if r.loadConfig(ctx) != nil || r.wholeConfig(ctx) != nil {
		r.config.Data = "# deleted" // Its source went first; what is registered here does not live.
	}
	return nil
}

// writeAhead records that a registration is about to begin, and keeps the Agent from going without it.
func (p *pass) writeAhead(ctx context.Context, began, first time.Time) (intent registration.Intent, err error) {
	fenced := controllerutil.ContainsFinalizer(p.agent, v1alpha1.AgentFinalizer)
	last := p.closed()
	if open := p.intent(); open.At.After(last.At) && p.authentic() {
		last = open // By another replica, whose clock is ahead.
	}
	intent, err = registration.NewIntent(began, first, last, p.subject(p.place.URL), p.project.Sign)
	if err != nil {
		return intent, err
	}
	err = p.patchMeta(ctx, func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent.String())
	})
	if err == nil && !fenced {
		err = p.stillThere(ctx)
	}
	return intent, err
}

// send sends the request. A shutdown must not cut it: its outcome counts most.
func (r *registrar) send(ctx context.Context, ticket *connection.Permit, intent registration.Intent, left time.Duration) error {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	machineID := r.machineID()
	r.memory.posted = r.agent
	register := ticket.Register
	if r.facts.Deleting {
		register = ticket.Repeat // The CloudProject waits for this Agent.
	}
	made, err := register(call, registrationBody(r.agent, r.config, machineID))
	if err != nil {
		return r.notRegistered(err)
	}
	// A server that upserts may answer with an agent of somebody else.
	if r.explicit() && !r.mayAdopt() && !made.CreatedAt.IsZero() && made.CreatedAt.Before(intent.First.Add(-r.Settings.Slack)) {
		r.closeIntent()
		if r.facts.Deleting { // Nothing is open any more, so the Agent goes.
			r.tell(maybeOrphaned, machineID)
			return nil
		}
		return r.machineIDTaken(made.ID)
	}
	if err := r.misdirected(ctx, made.ID, machineID); err != nil {
		// What it made, if anything, is still to be found out.
		return fault.Retryablef(v1alpha1.ReasonRegistrationOutcomeUnknown, "the API answered the registration with another's agent: %v", err).
			After(r.Settings.BackoffMin).Because(err)
	}
	r.created(ctx, made, machineID)
	return nil
}

// created records what the API registered.
func (r *registrar) created(ctx context.Context, made *cloud.Registered, machineID string) {
	r.agent.Status.Origin = v1alpha1.OriginRegistered
	r.recorded(ctx, made.ID, machineID)
	r.memory.due = r.Clock.Now().Add(r.interval(ctx) / 10) // The response does not tell its health.
	r.agent.Status.Agent = registeredStatus(made, r.agent, r.config)
	r.registered, r.token, r.memory.unstored, r.memory.refused = true, made.Token, made.Token, ""
	if r.memory.lost != "" {
		r.tell(reregistered, made.ID)
	} else {
		r.tell(registeredAgent, made.ID)
	}
}

// misdirected refuses an answer that names the remote agent of another Agent.
func (p *pass) misdirected(ctx context.Context, id, machineID string) error {
	others, err := p.having(ctx, remoteIndex, id)
	if err != nil {
		return err
	}
	for i := range others {
		// One with our machine ID took over what is ours by derivation.
		if other := &others[i]; other.UID != p.agent.UID && other.Status.URL == p.place.URL && other.Status.MachineID != machineID {
			return p.claimedBy(other, id)
		}
	}
	return p.unclaimed(ctx, &cloud.Agent{ID: id, MachineID: machineID})
}

// notRegistered turns the failure of a request into facts. What cannot be told by them leaves the registration open:
// the next pass checks what became of it.
func (r *registrar) notRegistered(err error) error {
	e, ok := cloud.AsError(err)
	if !ok {
		return err
	}
	r.failure, r.facts.SentAt = err, r.Clock.Now()
	taken := e.Reason == cloud.ReasonConflict && e.Status != 0
	switch {
	case taken && e.API:
		r.facts.Outcome = registration.OutcomeConflict
	case taken:
		r.facts.Outcome = registration.OutcomeForeignConflict
	case e.NothingMade():
		r.facts.Outcome = registration.OutcomeNothing
	}
	if e.API && !taken {
		r.memory.nonce, r.memory.nonceAt, r.memory.answered = r.intent().String(), r.Clock.Now(), r.Clock.Now()
	}
	if r.facts.Outcome != registration.OutcomeUnknown {
		return nil
	}
	if refused, stalls := fault.As(r.contentRefused(err)); stalls {
		return refused
	}
	return r.inDoubt(err)
}

// inDoubt leaves a registration open: the next pass checks what became of it.
func (p *pass) inDoubt(cause error) error {
	return fault.Retryablef(v1alpha1.ReasonRegistrationOutcomeUnknown,
		"the outcome of the registration is unknown (%v); checking whether it succeeded before retrying", cause).
		After(p.Settings.BackoffMin).Because(cause)
}
