/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// sync brings the remote agent to what is declared, as far as the sync policy says.
func (p *pass) sync(ctx context.Context) error {
	if err := p.withdraw(ctx); err != nil {
		return err
	}
	fields := declared(&p.agent.Spec, &p.config)
	if p.registered {
		p.applied(fields)
		return nil
	}
	before := p.base.Status.Agent
	if p.remote != nil && p.remote.FirstMetricsAddedAt != nil && before != nil && before.FirstMetricsAddedAt == nil {
		p.agent.Status.IgnoredFields = nil // It may have been the first start of a Fluent Bit, not the service.
	}
	if p.remote != nil && len(p.memory.sent) > 0 { // By an earlier pass.
		p.readBack(fields)
	}
	// The second round corrects what the reading after the first one showed.
	for range 2 {
		send := p.toSend(fields)
		if len(send) == 0 {
			break
		}
		if p.Settings.ReadOnly {
			p.agent.Status.DriftedFields = names(send)
			return fault.Terminalf(v1alpha1.ReasonReadOnly,
				"the operator runs with --read-only and does not send %v: run it without, or set syncPolicy to Observe", names(send))
		}
		if err := p.send(ctx, fields, send); err != nil {
			return err
		}
	}
	if err := p.sentConfirmed(); err != nil {
		return err
	}
	p.applied(fields)
	if p.remote != nil {
		p.agent.Status.DriftedFields = names(p.kept(differing(fields, p.remote)))
		p.drifts()
	}
	return nil
}

// drifts tells of declared fields that are found changed and let stand, once for each.
func (p *pass) drifts() {
	known := func(name string) bool { return slices.Contains(p.base.Status.DriftedFields, name) }
	if now := p.agent.Status.DriftedFields; !slices.ContainsFunc(now, func(name string) bool { return !known(name) }) {
		return
	}
	p.tell(drifted, p.agent.Status.DriftedFields...)
}

// toSend are the fields that the sync policy wants to be sent now.
func (p *pass) toSend(fields []field) []field {
	unapplied := p.unapplied(fields)
	if p.agent.Spec.SyncPolicy == v1alpha1.SyncObserve {
		return nil
	}
	if p.remote == nil {
		return slices.DeleteFunc(slices.Clone(fields), func(f field) bool {
			return !slices.Contains(p.memory.resend, f.name) && !slices.ContainsFunc(unapplied, func(u field) bool { return u.name == f.name })
		})
	}
	return slices.DeleteFunc(slices.Clone(fields), func(f field) bool {
		isNew := p.memory.doubts(f) || slices.ContainsFunc(unapplied, func(u field) bool { return u.name == f.name })
		switch {
		case f.same == nil:
			return !isNew
		case f.same(p.remote):
			return true
		case isNew:
			return false
		default:
			return p.agent.Spec.SyncPolicy == v1alpha1.SyncOnChange || slices.Contains(p.agent.Status.IgnoredFields, f.name)
		}
	})
}

// unapplied are the fields that are not declared as they were applied or, if that is not confirmed yet, sent last: what
// was accepted is not sent again for want of a read.
func (p *pass) unapplied(fields []field) []field {
	last := map[string]string{}
	maps.Copy(last, p.agent.Status.Applied.Fields)
	maps.Copy(last, p.memory.sent)
	return changed(fields, last)
}

// kept takes out the fields that the service does not honour.
func (p *pass) kept(fields []field) []field {
	return slices.DeleteFunc(fields, func(f field) bool { return slices.Contains(p.agent.Status.IgnoredFields, f.name) })
}

// send patches the fields and reads back what became of them.
func (p *pass) send(ctx context.Context, all, send []field) error {
	happening := updated
	if len(p.unapplied(send)) == 0 {
		happening = corrected
	}
	var err error
	if slices.Contains(names(send), v1alpha1.FieldRawConfig) {
		err = p.wholeConfig(ctx)
	}
	if err == nil {
		err = p.contentRefused(p.patchRemote(ctx, update(send)))
	}
	p.memory.resend = nil
	if classify(err).is(v1alpha1.ReasonRateLimited) {
		p.memory.resend, p.memory.resendFor = names(send), p.agent.Generation
	} else if err != nil {
		// What was found to differ is looked at again before this pass counts as done.
		p.memory.due, p.memory.differs = p.Clock.Now(), true
	}
	if err != nil {
		return err
	}
	p.accepted(send)
	p.memory.sentCorrects = happening == corrected
	if !slices.ContainsFunc(send, p.memory.doubts) {
		p.tell(happening, names(send)...)
	}
	p.remote, p.sight = nil, nil
	p.memory.due = p.Clock.Now()
	if !p.project.Spare() { // Others wait for the rate limit: one snapshot confirms what was sent to many.
		delay := min(p.interval(ctx)/10, max(confirmDelay, 10*p.project.ListTook()))
		p.memory.due = p.memory.due.Add(delay + rand.N(delay+1))
		return nil
	}
	if err := p.read(ctx); err != nil || p.remote == nil {
		p.memory.differs = true
		return err
	}
	p.readBack(all)
	return nil
}

// confirmDelay is how long an update at least waits for a snapshot to confirm it where the rate limit is used up.
const confirmDelay = 2 * time.Second

// accepted notes fields that the API accepted, so that they are not sent again before they are read back.
func (p *pass) accepted(fields []field) {
	if p.memory.sent == nil {
		p.memory.sent = map[string]string{}
	}
	p.memory.sentAt, p.memory.refused = p.Clock.Now(), ""
	maps.Copy(p.memory.sent, hashes(fields))
}

// readBack notes as applied what was sent, now that the remote agent was read since, and what the service ignored.
func (p *pass) readBack(all []field) {
	m, status := p.memory, &p.agent.Status
	var ignored []string
	again := map[string]string{}
	for _, f := range differing(all, p.remote) {
		switch {
		case m.sent[f.name] != f.hash:
		case !m.doubts(f) && (m.sentCorrects || lived(p.remote)):
			again[f.name] = f.hash
		default:
			ignored = append(ignored, f.name)
		}
	}
	still := status.IgnoredFields[:0:0]
	for _, name := range names(differing(all, p.remote)) {
		if slices.Contains(ignored, name) || slices.Contains(status.IgnoredFields, name) {
			still = append(still, name)
		}
	}
	status.IgnoredFields = still
	if status.Applied.Fields == nil {
		status.Applied.Fields = map[string]string{}
	}
	maps.Copy(status.Applied.Fields, m.sent)
	m.sent, m.doubted = nil, again
}

// doubts reports whether a field was sent and not found so, perhaps by another's doing.
func (m *memory) doubts(f field) bool { return m.doubted[f.name] == f.hash }

// sentConfirmed fails while nothing has shown the remote agent since it was updated: what was not confirmed is not Ready.
func (p *pass) sentConfirmed() error {
	if len(p.memory.sent) == 0 || p.remote != nil || p.sight != nil {
		return nil
	}
	return fault.Waitingf(v1alpha1.ReasonProgressing, "the update was sent; waiting for the rate limit to confirm it").
		After(max(p.memory.due.Sub(p.Clock.Now()), time.Millisecond)).Quietly()
}

// lived reports whether a Fluent Bit has run as the remote agent. It writes at its start, perhaps between our
// sending and our reading; so what it may have undone is sent a second time before the service is blamed. So is
// a correction: the service kept that value before, and whoever changed it may do so again.
func lived(remote *cloud.Agent) bool {
	return remote.FirstMetricsAddedAt != nil || remote.OS != "" && remote.OS != "unknown"
}

// applied records that the remote agent is as this generation declares.
func (p *pass) applied(fields []field) {
	status := &p.agent.Status
	if p.agent.Spec.SyncPolicy != v1alpha1.SyncObserve {
		status.Applied.Fields = hashes(fields)
	}
	p.memory.sent, p.memory.doubted = nil, nil
	status.Applied.Generation = p.agent.Generation
	status.Applied.SourceResourceVersion = p.config.ResourceVersion
	if p.remote != nil {
		status.IgnoredFields = slices.DeleteFunc(status.IgnoredFields, func(name string) bool {
			return !slices.Contains(names(differing(fields, p.remote)), name)
		})
	}
}

// agentOnly are the fields that a server may take only from the agent itself.
var agentOnly = []string{"version", "edition", "flags", v1alpha1.FieldRawConfig, "metadata"}

// patchRemote sends an update with the project token, and once more as the agent where the service
// wants that.
func (p *pass) patchRemote(ctx context.Context, u cloud.Update) error {
	restricted := slices.ContainsFunc(u.Fields(), func(name string) bool { return slices.Contains(agentOnly, name) })
	if !restricted || !p.project.OnlyAgentWrites() {
		err := p.project.Update(ctx, p.caller(), p.agent.Status.ID, u)
		if e, ok := cloud.AsError(err); !ok || e.Reason != cloud.ReasonFieldForbidden || !restricted {
			return p.unlessGone(err)
		}
		p.project.SetOnlyAgentWrites()
	}
	token, err := p.agentToken(ctx)
	if err != nil {
		return err
	}
	err = p.project.UpdateAsAgent(ctx, p.caller(), p.agent.Status.ID, u, token)
	if e, ok := cloud.AsError(err); ok && e.Status == http.StatusUnauthorized {
		return fault.Terminalf(v1alpha1.ReasonTokenUnavailable,
			"the service takes %v only from the agent itself, and refuses the token in Secret %q: delete that Secret to have it written anew",
			u.Fields(), tokensecret.Name(p.agent)).Because(err)
	}
	return p.unlessGone(err)
}

// unlessGone turns the news that the remote agent is gone into a look of its own at the next pass.
func (p *pass) unlessGone(err error) error {
	if !cloud.IsGone(err) {
		return err
	}
	return fault.Retryablef(v1alpha1.ReasonRemoteDeleted,
		"the service says that the remote agent %s is gone; it is looked at again", p.agent.Status.ID).Because(err)
}

// agentToken is the remote agent's own token.
func (p *pass) agentToken(ctx context.Context) (cloud.Token, error) {
	if p.token.Usable() {
		return p.token, nil
	}
	name := tokensecret.Name(p.agent)
	secret, verdict, err := p.secrets.Find(ctx, p.agent, name)
	if err != nil {
		return cloud.Token{}, err
	}
	if verdict != tokensecret.Ours || tokensecret.ID(secret) != p.agent.Status.ID {
		return cloud.Token{}, foreignSecret(name)
	}
	if token := tokensecret.Token(secret); token.Usable() {
		return token, nil
	}
	return cloud.Token{}, p.tokenUnavailable()
}
