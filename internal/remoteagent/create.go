/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// creation executes the action Create. It is the only code that registers.
type creation struct{ *registrar }

// create persists a fresh intent and sends the one request that it permits.
func (r creation) create(ctx context.Context) error {
	if !r.sessionAsked && !r.facts.Deleting {
		r.sessionAsked = true
		if r.why.session = (SecretPreflight{r.Task}).sessionFree(ctx); r.why.session != nil {
			r.facts.SessionFree = false
			if !fault.Is(r.why.session, fault.SecretForeign) {
				return r.why.session
			}
			return nil
		}
	}
	if err := r.bodyFor(ctx); err != nil {
		return err
	}
	permit, err := r.Project.Acquire(r.Caller())
	if err != nil {
		return err
	}
	if permit.Version() != r.EndpointVersion {
		permit.Release()
		return r.outdated()
	}
	began := r.Clock.Now()
	elsewhere, first := r.Open() && !r.facts.Authentic, time.Time{}
	switch {
	case elsewhere:
		first = began // An intent of unknown origin: an agent may have been created.
	case r.Open():
		first = r.Intent().First // The API may respond with what an earlier attempt created.
	case r.throttledBefore():
		first = r.Intent().First // A gateway may have repeated that attempt, too fast for the API. If so, the list shows a duplicate.
	}
	if err := ctx.Err(); err != nil { // A shutdown after the intent and before the request would make the next leader wait.
		permit.Release()
		return err
	}
	whole, done := Detach(ctx)
	intent, err := r.recordIntent(whole, began, first)
	done()
	left := r.Settings.PostWindow - r.Clock.Since(began)
	if err == nil && left <= 0 {
		err = fault.Retryablef(v1alpha1.ReasonAPIServer, "the API server took too long to record the registration")
	}
	if err != nil {
		permit.Release()
		return err
	}
	r.Known.attempt = attempt{intent: intent.String(), began: began}
	if elsewhere { // The operator no longer looks there.
		r.Record(MaybeOrphaned, r.MachineID())
	}
	if intent.At.After(began) { // It has to be later than the last one, which a clock that was ahead wrote.
		intent.At = began
	}
	if intent.First.After(began) {
		intent.First = began
	}
	for _, s := range []registration.Source{registration.Record, registration.Response, registration.SecretIntent} {
		r.facts.Found[s] = registration.None // The intent is new.
	}
	return r.send(ctx, permit, intent, left)
}

// throttledBefore reports whether the API asked to wait in response to the last attempt, where lists show what that created.
func (r creation) throttledBefore() bool {
	a := &r.Known.attempt
	return r.facts.Listing == registration.ListingYes && !r.explicit() &&
		a.intent != "" && a.intent == r.Intent().String() && !a.responded.IsZero() && a.refused.IsZero()
}

// bodyFor reads the configuration that is registered.
func (r creation) bodyFor(ctx context.Context) error {
	if !r.facts.Deleting {
		return r.WholeConfig(ctx)
	}
	if r.LoadConfig(ctx) != nil || r.WholeConfig(ctx) != nil {
		r.Config.Data = "# deleted" // Its source was deleted first; this agent is deleted right after.
	}
	return nil
}

// recordIntent persists the registration intent, and the finalizer that keeps the Agent until the outcome is known.
func (r creation) recordIntent(ctx context.Context, began, first time.Time) (intent registration.Intent, err error) {
	wasFenced, e := Fenced(r.Agent), Evidence{r.Task}
	last := ClosedIntent(r.Agent)
	if open := r.Intent(); open.At.After(last.At) && e.authentic() {
		last = open // Another replica wrote it, whose clock is ahead.
	}
	attempt := registration.Attempt{First: first, Sent: e.sent(r.Config.Data)}
	intent, err = registration.NewIntent(began, attempt, last, e.subject(r.Endpoint.URL), r.Project.Sign)
	if err != nil {
		return intent, err
	}
	err = r.PatchMeta(ctx, func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent.String())
	})
	if err == nil && !wasFenced {
		err = r.stillThere(ctx)
	}
	return intent, err
}

// send sends the request. A shutdown must not interrupt it: its outcome matters most.
func (r creation) send(ctx context.Context, permit *connection.Permit, intent registration.Intent, left time.Duration) error {
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), left)
	defer cancel()
	machineID := r.MachineID()
	r.Writes.Sent = r.Agent
	register := permit.Register
	if r.facts.Deleting {
		register = permit.Repeat // The CloudProject waits for this Agent.
	}
	body := plan.Registration(r.Agent.Name, &r.Agent.Spec, r.Targets, r.Config.Data, machineID)
	alone := r.inFlight.begin(r.Endpoint.URL, body.Name)
	made, err := register(call, body)
	odd := !alone()
	if err != nil {
		return r.notRegistered(call, err)
	}
	behind := r.behind(made)
	var shown *cloud.Agent
	if odd = odd || r.odd(made, body.Name, intent); odd {
		if shown, err = r.confirm(ctx, made); err != nil {
			return err
		}
	}
	// A server that upserts may respond with somebody else's agent.
	if r.guest() && (r.existed(made, intent) || r.anothers(shown, intent, behind)) {
		r.closeIntent()
		if r.facts.Deleting { // The intent is closed, so the Agent can be released.
			r.Record(MaybeOrphaned, machineID)
			return nil
		}
		return r.older(made.ID)
	}
	if err := (rivals{r.Task}).misdirected(ctx, made.ID, machineID); err != nil {
		// Whether it created an agent is still unknown.
		return fault.Retryablef(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"the API responded to the registration with the remote agent of another Agent: %v", err).
			After(r.Settings.BackoffMin).Because(err)
	}
	r.keep(made, machineID)
	r.Known.Identity.shown = odd // Then it was read.
	return nil
}

// odd reports whether a response may be that of a registration of another name or time, or does not show one of the two.
func (r creation) odd(made *cloud.Registered, name string, intent registration.Intent) bool {
	at, now, since := made.CreatedAt, r.Clock.Now(), intent.First
	if r.guest() { // What is older than this attempt may be another's.
		since = intent.At
	}
	switch {
	case at.IsZero(), !strings.EqualFold(made.Name, name):
		return true
	case made.RespondedAt.IsZero():
		return at.Before(since.Add(-r.Settings.Slack)) || at.After(now.Add(registration.ClockTolerance))
	}
	at = at.Add(r.behind(made))
	return registration.CreatedBefore(at, since) || at.After(now.Add(registration.ClockTolerance))
}

// confirm reads the agent that an odd response names, before it is recorded and its token stored. If that fails, the registration
// stays in doubt, and the ID and token are kept in this process.
func (r creation) confirm(ctx context.Context, made *cloud.Registered) (*cloud.Agent, error) {
	whole, done := Detach(ctx)
	defer done()
	now := r.Clock.Now()
	named := Whereabouts{made.ID, r.Endpoint}
	r.Known.attempt = attempt{intent: r.Intent().String(), met: now, named: named}
	remote, err := Observer{r.Task}.Lookup(whole, made.ID)
	if err != nil {
		r.Writes.hold(made.Token, named) // It may be found later.
	}
	switch {
	case err != nil && !fault.Is(err, fault.RemoteMissing):
		return nil, r.inDoubt(err)
	case remote == nil: // Or missed once: it is looked up again before the next attempt.
		failure := fault.Retryablef(v1alpha1.ReasonRegistrationOutcomeUnknown,
			"the response to the registration named %s, which is not this Agent's; looking for the Agent's own: "+
				"check what is between the operator and Calyptia Cloud", Evidence{r.Task}.named("a remote agent", made.ID)).
			After(r.Settings.BackoffMin)
		tries := triesOf(r.Task)
		tries.add(now, occasionOf(r.Task))
		tries.why = failure
		return nil, failure
	case !remote.CreatedAt.IsZero():
		made.CreatedAt = remote.CreatedAt
	}
	return remote, nil
}

// behind is by how much the clock that a response shows is behind this process's, at most; zero if it shows none.
func (r creation) behind(made *cloud.Registered) time.Duration {
	if made.RespondedAt.IsZero() {
		return 0
	}
	return r.Clock.Now().Sub(made.RespondedAt)
}

// anothers reports whether an odd response named an agent that is older than this attempt, and that shows another configuration than it
// sent. The clock that shows the creation is behind.
func (r creation) anothers(shown *cloud.Agent, intent registration.Intent, behind time.Duration) bool {
	return shown != nil && registration.CreatedBefore(shown.CreatedAt.Add(behind), intent.At) && Evidence{r.Task}.differs(shown, intent)
}

// existed reports whether a response names an agent that is older than the registration. The agent has to be older by the clock that
// the response shows, too; without one, that may be behind by up to the slack.
func (r creation) existed(made *cloud.Registered, intent registration.Intent) bool {
	switch {
	case made.CreatedAt.IsZero():
		return false
	case made.RespondedAt.IsZero():
		return made.CreatedAt.Before(intent.First.Add(-r.Settings.Slack))
	}
	return registration.CreatedBefore(made.CreatedAt, intent.First) &&
		registration.CreatedBefore(made.CreatedAt.Add(r.behind(made)), intent.First)
}

// keep records what the API registered.
func (r creation) keep(made *cloud.Registered, machineID string) {
	r.Agent.Status.Origin = v1alpha1.OriginRegistered
	r.Writes.hold(made.Token, Whereabouts{made.ID, r.Endpoint})
	Observer{r.Task}.putRegistered(made.ID, machineID)
	r.sawCreated(made.Token)
	r.Known.Updates.Refused = ""
	sent := plan.Registration(r.Agent.Name, &r.Agent.Spec, r.Targets, "", machineID)
	r.Agent.Status.Agent = agentstatus.Registered(made, sent, Redactor{r.Task}.Hide)
	if r.Known.Absence.Lost.ID != "" {
		r.Record(reregistered, made.ID)
	} else {
		r.Record(registeredAgent, made.ID)
	}
}

// notRegistered turns the failure of a request into facts. If they do not settle the outcome, the registration stays in
// doubt: the next reconciliation checks whether it succeeded.
func (r creation) notRegistered(ctx context.Context, err error) error {
	e, ok := cloud.AsError(err)
	if !ok {
		return err
	}
	r.why.failure, r.facts.SentAt = Names{r.Task}.Refused(err), r.Clock.Now()
	taken := e.Reason == cloud.ReasonConflict && e.Status != 0
	switch {
	case taken && e.API:
		r.facts.Outcome = registration.OutcomeConflict
	case taken:
		r.facts.Outcome = registration.OutcomeForeignConflict
	case e.NothingMade():
		r.facts.Outcome = registration.OutcomeNothing
		if !e.NotSent {
			r.refusedUnseen(ctx)
		}
	}
	if e.API && !taken {
		now := r.Clock.Now()
		r.Known.attempt = attempt{intent: r.Intent().String(), met: now, responded: now}
		tries := triesOf(r.Task)
		if e.Reason == cloud.ReasonRateLimited {
			tries.throttled++
		} else {
			tries.throttled = 0
		}
		if tries.throttled == 0 || tries.throttled > freeTries { // To wait is asked often, and of all Agents at once.
			r.Known.attempt.refused = now
		}
	}
	if r.facts.Outcome != registration.OutcomeUnknown {
		return nil
	}
	if refused, stalls := fault.As(r.ContentRefused(err)); stalls {
		return refused
	}
	return r.inDoubt(err)
}

// inDoubt leaves a registration in doubt: the next reconciliation checks whether it succeeded.
func (r creation) inDoubt(cause error) error {
	return fault.Retryablef(v1alpha1.ReasonRegistrationOutcomeUnknown,
		"the outcome of the registration is unknown (%v); checking whether it succeeded before retrying", cause).
		After(r.Settings.BackoffMin).Because(cause)
}
