/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// updater applies what is declared to the remote agent, as package plan decides.
type updater struct{ *task }

// fields are the managed fields, compared with the remote agent if it was read.
func (u updater) fields() []plan.Field { return plan.Compare(u.Declared(), plan.View{Agent: u.Remote}) }

// unapplied reports whether something is declared that was not applied.
func (u updater) unapplied() bool { return len(u.state().Unapplied(u.fields())) > 0 }

func (u updater) state() plan.State {
	status := &u.Agent.Status
	return plan.State{Applied: status.Applied.Fields, Ignored: status.IgnoredFields, Pending: u.Known.Updates.Pending}
}

// keep keeps the state: what is confirmed in the status, the rest in this process.
func (u updater) keep(s plan.State) {
	status := &u.Agent.Status
	status.Applied.Fields, status.IgnoredFields, u.Known.Updates.Pending = s.Applied, s.Ignored, s.Pending
}

// update applies what is declared, and then deletes duplicates: one that cannot be deleted, or not yet, delays nothing else. Its failure
// decides when its deletion is tried again.
func (u updater) update(ctx context.Context) error {
	if err := u.follow(ctx); err != nil {
		return err
	}
	duplicates := remoteagent.Deleter{Task: u.Task}
	delayed := duplicates.RemoveDuplicates(ctx)
	if agentstatus.CodeOf(delayed) == fault.Throttled {
		duplicates.Delayed()
	}
	return delayed
}

// follow follows the plan until it is done.
func (u updater) follow(ctx context.Context) error {
	in := plan.Input{
		Policy: u.Agent.Spec.SyncPolicy, ReadOnly: u.Settings.ReadOnly,
		Fields: u.fields(), Listed: u.Listed != nil, State: u.state(),
	}
	if u.Created {
		u.done(in)
		return nil
	}
	if u.Remote != nil {
		before := u.Base.Status.Agent
		if u.Remote.FirstMetricsAddedAt != nil && before != nil && before.FirstMetricsAddedAt == nil {
			in.State.Ignored = nil // It may have been the first start of a Fluent Bit, not the API.
		}
		if len(in.State.Sent) > 0 { // By an earlier reconciliation.
			in.State = in.State.ReadBack(in.Fields)
		}
	}
	for ; ; in.Round++ {
		u.keep(in.State)
		switch c := plan.Decide(in); c.Step {
		case plan.Send:
			if remoteagent.Provisional(u.Task) {
				return remoteagent.RecordFirst().Quietly()
			}
			if err := u.send(ctx, in, c); err != nil {
				return err
			}
			in.State, in.Fields, in.Listed = u.state(), u.fields(), false
		case plan.Blocked:
			u.Agent.Status.DriftedFields = c.Fields
			return fault.Terminalf(v1alpha1.ReasonReadOnly,
				"the operator runs with --read-only and does not send %v: run the operator without --read-only, or set syncPolicy to Observe",
				c.Fields)
		case plan.Unconfirmed:
			after := u.Confirm
			if after == 0 {
				after = u.Known.Timers.Check.Sub(u.Clock.Now())
			}
			return fault.Waitingf(v1alpha1.ReasonProgressing, "the update was sent; waiting for the rate limit to confirm it").
				After(max(after, time.Millisecond)).Quietly()
		case plan.Done:
			u.done(in)
			return nil
		}
	}
}

// done records that the remote agent is as this generation declares.
func (u updater) done(in plan.Input) {
	status := &u.Agent.Status
	u.keep(in.Applied())
	status.Applied.Generation = u.Agent.Generation
	status.Applied.SourceResourceVersion = u.Config.ResourceVersion
	names, known := in.Drifted()
	if !known || u.Remote == nil {
		return
	}
	status.DriftedFields = names
	if slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(u.Base.Status.DriftedFields, name) }) {
		u.Record(remoteagent.Drifted, names...)
	}
}

// send patches fields and reads the result back.
func (u updater) send(ctx context.Context, in plan.Input, c plan.Changes) error {
	o := remoteagent.Observer{Task: u.Task}
	err := o.ConfirmOurs(ctx)
	if err == nil && slices.Contains(c.Fields, v1alpha1.FieldRawConfig) {
		if err = u.WholeConfig(ctx); err == nil {
			err = remoteagent.StillDeclared(ctx, u.Task)
		}
	}
	if err == nil {
		err = u.ContentRefused(u.patchRemote(ctx, plan.Update(u.Declared(), c.Fields)))
		err = remoteagent.Names{Task: u.Task}.Refused(err)
	}
	updates := &u.Known.Updates
	updates.Delayed = nil
	if agentstatus.CodeOf(err) != fault.Throttled {
		updates.TokenRefused = ""
	}
	if err != nil {
		if agentstatus.CodeOf(err) == fault.Throttled {
			updates.Delayed, updates.DelayedFor = c.Fields, u.Agent.Generation
		} else {
			u.Unfinished = true // What was found to differ is checked again before this counts as done.
		}
		return err
	}
	u.keep(in.State.Accepted(in.Fields, c))
	updates.SentAt, updates.Refused = u.Clock.Now(), ""
	if !c.Repeats {
		event := remoteagent.Updated
		if c.Reverts {
			event = remoteagent.Corrected
		}
		u.Record(event, c.Fields...)
	}
	u.Changed()
	if !u.Project.Spare() { // Others wait for the rate limit: one snapshot confirms what was sent to many.
		u.Confirm = schedule.Confirm(u.Interval(ctx), u.Project.ListTook(), rand.Float64())
		return nil
	}
	if err := o.Read(ctx); err != nil {
		u.Unfinished = true
		return err
	}
	u.keep(u.state().ReadBack(u.fields()))
	return nil
}

// agentOnly are the fields that an API may accept only from the agent itself.
var agentOnly = []string{"version", "edition", "flags", v1alpha1.FieldRawConfig, "metadata"}

// patchRemote sends an update with the project token, and as the agent if the API requires that.
func (u updater) patchRemote(ctx context.Context, update cloud.Update) error {
	restricted := slices.ContainsFunc(update.Fields(), func(name string) bool { return slices.Contains(agentOnly, name) })
	var noToken error
	if restricted && u.Project.OnlyAgentWrites() {
		usable, err := u.patchAsAgent(ctx, update)
		if usable {
			return err
		}
		noToken = err // What another Agent saw may have been wrong: the project token decides, in this turn or the next.
		u.Project.SetOnlyAgentWrites(false)
	}
	err := u.Project.Update(ctx, u.Caller(), u.Agent.Status.ID, update)
	if e, ok := cloud.AsError(err); !ok || e.Reason != cloud.ReasonFieldForbidden || !restricted {
		return u.unlessMissing(err)
	}
	u.Project.SetOnlyAgentWrites(true)
	if noToken != nil {
		return noToken
	}
	_, err = u.patchAsAgent(ctx, update)
	return err
}

// patchAsAgent sends an update with the agent's own token, and reports whether there is one that the API accepts.
func (u updater) patchAsAgent(ctx context.Context, update cloud.Update) (usable bool, err error) {
	token, err := u.agentToken(ctx)
	if err != nil {
		f, ok := fault.As(err)
		return !ok || f.Class != fault.Terminal, err
	}
	refused := &u.Known.Updates.TokenRefused
	if *refused != token.Digest() { // Else an earlier turn tried it.
		err = u.Project.UpdateAsAgent(ctx, u.Caller(), u.Agent.Status.ID, update, token)
	}
	if e, ok := cloud.AsError(err); ok && e.Status == http.StatusUnauthorized || *refused == token.Digest() {
		*refused = token.Digest()
		return false, fault.Terminalf(v1alpha1.ReasonTokenUnavailable,
			"the API accepts %v only from the agent itself, and refuses the token in Secret %q: delete that Secret to have it written again",
			update.Fields(), tokensecret.Name(u.Agent)).Because(err)
	}
	return true, u.unlessMissing(err)
}

// unlessMissing makes the next reconciliation check whether the remote agent is missing.
func (u updater) unlessMissing(err error) error {
	if !cloud.IsGone(err) {
		return err
	}
	return fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
		"remote agent %s not found; it is checked again", u.Agent.Status.ID).
		Coded(fault.RemoteMissing).Because(err)
}

// agentToken is the remote agent's own token.
func (u updater) agentToken(ctx context.Context) (cloud.Token, error) {
	if u.Token.Usable() {
		return u.Token, nil
	}
	name := tokensecret.Name(u.Agent)
	secret, verdict, err := u.Secrets.Find(ctx, u.Agent, name)
	if err != nil {
		return cloud.Token{}, err
	}
	if verdict != tokensecret.Ours || tokensecret.ID(secret) != u.Agent.Status.ID {
		return cloud.Token{}, tokensecret.Conflict(name, remoteagent.TokenField)
	}
	if token := tokensecret.Token(secret); token.Usable() {
		return token, nil
	}
	return cloud.Token{}, u.tokenUnavailable()
}
