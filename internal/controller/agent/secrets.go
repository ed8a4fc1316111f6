/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

func foreignSecret(name string) error {
	return fault.Terminalf(v1alpha1.ReasonSecretConflict,
		"Secret %q exists and is not this Agent's: delete it, or name another Secret in spec.tokenSecretRef", name)
}

func foreignSession(name string) error {
	return fault.Terminalf(v1alpha1.ReasonSecretConflict,
		"Secret %q exists and is not this Agent's: delete it, or name another Secret in spec.sessionSecretRef", name)
}

// keepSecrets stores the remote agent's id and token, repairs them, and follows a changed name.
func (p *pass) keepSecrets(ctx context.Context) error {
	// Nothing that this pass learned may differ from what was found right.
	told := p.token.Usable() && p.token.Digest() != p.memory.digest
	if !p.memory.verified || p.registered || told || !p.secretsUnchanged(ctx) {
		if err := p.bringSecrets(ctx); err != nil || p.tokenMissing {
			p.doubtSecrets()
			return err
		}
		p.memory.verified, p.memory.lost = true, ""
	}
	applied := &p.agent.Status.Applied
	applied.TokenSecretResourceVersion, applied.SessionSecretResourceVersion = p.memory.secretVersion, p.memory.sessionVersion
	return p.tidy(ctx)
}

// doubtSecrets lets neither this process nor the next one rest before the Secrets are brought about.
func (p *pass) doubtSecrets() {
	p.memory.verified, p.memory.secretVersion = false, ""
	applied := &p.agent.Status.Applied
	applied.TokenSecretResourceVersion, applied.SessionSecretResourceVersion = "", ""
}

// bringSecrets brings the Secrets about, as far as the token is known.
func (p *pass) bringSecrets(ctx context.Context) error {
	name := tokensecret.Name(p.agent)
	secret, err := p.keepToken(ctx, name)
	if err != nil {
		return err
	}
	status := &p.agent.Status
	if before := status.TokenSecretRef; before != nil && before.Name != name {
		if err := p.removeFormer(ctx, before.Name); err != nil {
			return err
		}
	}
	status.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: name}
	p.memory.verified = false
	token := tokensecret.Token(secret)
	if p.tokenMissing = !token.Usable(); p.tokenMissing {
		return nil
	}
	p.memory.digest = token.Digest()
	return p.keepSession(ctx, token)
}

// tokenKnown stalls an Agent whose token only a person can get.
func (p *pass) tokenKnown(context.Context) error {
	if !p.tokenMissing {
		return nil
	}
	return p.tokenUnavailable()
}

func (p *pass) tokenUnavailable() error {
	return fault.Terminalf(v1alpha1.ReasonTokenUnavailable,
		"the service does not show the token of agent %s: add it to Secret %q under the key %q",
		p.agent.Status.ID, tokensecret.Name(p.agent), v1alpha1.TokenKey)
}

// keepToken brings the token Secret about and returns it as it is then.
func (p *pass) keepToken(ctx context.Context, name string) (*corev1.Secret, error) {
	var secret *corev1.Secret
	verdict := tokensecret.Absent
	// Right after the registration the cache's word is enough: what it misses makes the create fail.
	if seen := p.version(ctx, "Secret", name); !p.registered || seen != "" {
		var err error
		if secret, verdict, err = p.secrets.Find(ctx, p.agent, name); err != nil {
			return nil, err
		}
	}
	if yielded, err := p.settle(ctx, secret, verdict, name); err != nil {
		return nil, err
	} else if yielded { // What that agent lacks in the Secret is completed at once.
		return p.keepToken(ctx, name)
	}
	id := p.agent.Status.ID
	token, err := p.bestToken(ctx, secret)
	if err != nil {
		return nil, err
	}
	if len(token.Reveal()) > tokensecret.MaxToken {
		return nil, fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"the token of agent %s is longer than %d bytes: check what answers at the CloudProject's url", id, tokensecret.MaxToken)
	}
	desired := tokensecret.Desired{
		Name: name,
		// No session stays where the two Secrets changed places: it is binary, and breaks an envFrom.
		Data: map[string][]byte{
			v1alpha1.IDKey:         []byte(id),
			tokensecret.SessionKey: nil, tokensecret.ClassicKey: nil, tokensecret.YAMLKey: nil,
		},
		Registration: p.agent.Status.RegistrationIntent, Retained: p.retains(),
	}
	if token.Usable() {
		desired.Data[v1alpha1.TokenKey] = []byte(token.Reveal())
	} else if secret != nil && tokensecret.ID(secret) != id && !tokensecret.Token(secret).IsZero() {
		desired.Data[v1alpha1.TokenKey] = nil // Of another agent: worse than none.
	}
	repaired := secret != nil || p.agent.Status.TokenSecretRef != nil
	written, err := p.secrets.Put(ctx, p.agent, secret, desired)
	if err != nil {
		return nil, err
	}
	if repaired && !p.registered && (secret == nil || written.ResourceVersion != secret.ResourceVersion) {
		logger(ctx).Info("Repaired the token Secret", "secret", name)
	}
	p.memory.secretVersion, p.memory.unstored = written.ResourceVersion, cloud.Token{}
	return written, nil
}

// settle decides whether the Secret may be written, and reports whether the Agent has taken another remote agent for it.
func (p *pass) settle(ctx context.Context, secret *corev1.Secret, verdict tokensecret.Verdict, name string) (yielded bool, err error) {
	id := p.agent.Status.ID
	switch verdict {
	case tokensecret.Foreign:
		return false, foreignSecret(name)
	case tokensecret.Ownerless:
		if tokensecret.ID(secret) != id {
			return false, p.takeover(ctx, secret, foreignSecret(name))
		}
	case tokensecret.Ours:
		if other := tokensecret.ID(secret); other != id && other != "" && other != p.memory.lost && p.agent.Spec.AgentID == "" {
			return p.yield(ctx, secret)
		}
	case tokensecret.Absent, tokensecret.Doomed:
	}
	return false, nil
}

// yield gives way to another live remote agent that the Secret names: a leader that had lost its lease
// without knowing registered this one. It is noted to be withdrawn.
func (p *pass) yield(ctx context.Context, secret *corev1.Secret) (bool, error) {
	remote, err := p.ours(ctx, tokensecret.ID(secret))
	if err != nil || remote == nil || !p.registeredWith(tokensecret.Registration(secret), remote.CreatedAt) {
		return false, err
	}
	status := &p.agent.Status
	status.DuplicatesToDelete = append(status.DuplicatesToDelete, status.ID)
	p.recorded(ctx, remote.ID, remote.MachineID)
	p.registered, p.remote, p.token = false, remote, remote.Token
	p.memory.secretVersion = secret.ResourceVersion
	return true, nil
}

// bestToken is what the service tells. The Secret's own word counts while it is as it was last found right,
// and where the service shows no token.
func (p *pass) bestToken(ctx context.Context, secret *corev1.Secret) (cloud.Token, error) {
	held := p.memory.unstored
	if secret != nil && tokensecret.ID(secret) == p.agent.Status.ID {
		held = tokensecret.Token(secret)
	}
	if p.memory.verified && !p.token.Usable() && held.Usable() && secret != nil && secret.ResourceVersion == p.memory.secretVersion {
		return held, nil
	}
	if !p.token.Usable() && p.remote == nil {
		if err := p.read(ctx); err != nil {
			return cloud.Token{}, err
		}
	}
	if p.token.Usable() {
		return p.token, nil
	}
	if !held.Usable() {
		return p.formerToken(ctx)
	}
	return held, nil
}

// formerToken is the token in a Secret whose name is not declared any more: where the service shows no token,
// it is the only place that has it.
func (p *pass) formerToken(ctx context.Context) (cloud.Token, error) {
	before := p.agent.Status.TokenSecretRef
	if before == nil || before.Name == tokensecret.Name(p.agent) {
		return cloud.Token{}, nil
	}
	secret, verdict, err := p.secrets.Find(ctx, p.agent, before.Name)
	if err != nil || verdict != tokensecret.Ours || tokensecret.ID(secret) != p.agent.Status.ID {
		return cloud.Token{}, err
	}
	return tokensecret.Token(secret), nil
}

// keepSession stores the session of a real Fluent Bit, where it is wanted: the new one first, then a former
// one goes.
func (p *pass) keepSession(ctx context.Context, token cloud.Token) error {
	status := &p.agent.Status
	name, wanted := tokensecret.SessionName(p.agent)
	if wanted {
		if err := p.putSession(ctx, name, token); err != nil {
			return err
		}
	}
	if before := status.SessionSecretRef; before != nil && (!wanted || before.Name != name) {
		if err := p.removeFormer(ctx, before.Name); err != nil {
			return err
		}
	}
	status.SessionSecretRef = nil
	if !wanted {
		p.memory.sessionVersion = ""
	} else {
		status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: name}
	}
	return nil
}

func (p *pass) putSession(ctx context.Context, name string, token cloud.Token) error {
	status := &p.agent.Status
	where, err := url.Parse(status.URL)
	if err != nil {
		return err
	}
	data, err := tokensecret.Session{ID: status.ID, Token: token, MachineID: status.MachineID, URL: where}.Data()
	if err != nil {
		return err
	}
	secret, verdict, err := p.secrets.Find(ctx, p.agent, name)
	if err != nil {
		return err
	}
	switch {
	case verdict == tokensecret.Foreign:
		return foreignSession(name)
	case verdict == tokensecret.Ownerless && tokensecret.SessionID(secret) != status.ID:
		if err := p.takeover(ctx, secret, foreignSession(name)); err != nil {
			return err
		}
	}
	data[v1alpha1.IDKey], data[v1alpha1.TokenKey] = nil, nil
	written, err := p.secrets.Put(ctx, p.agent, secret, tokensecret.Desired{Name: name, Data: data, Retained: p.retains()})
	if err != nil {
		return err
	}
	if status.SessionSecretRef != nil && !p.registered && (secret == nil || written.ResourceVersion != secret.ResourceVersion) {
		logger(ctx).Info("Repaired the session Secret", "secret", name)
	}
	p.memory.sessionVersion = written.ResourceVersion
	return nil
}

// sessionPossible refuses a session that could never report, before anything is registered.
func (p *pass) sessionPossible(context.Context) error {
	if _, wanted := tokensecret.SessionName(p.agent); !wanted {
		return nil
	}
	base, err := url.Parse(p.place.URL)
	if err != nil {
		return err
	}
	return tokensecret.UsableURL(base)
}

// sessionFree refuses a Secret in the session's place that is not the Agent's, before anything is registered.
func (p *pass) sessionFree(ctx context.Context) error {
	name, wanted := tokensecret.SessionName(p.agent)
	if !wanted || p.version(ctx, "Secret", name) == "" {
		return nil // One that appears meanwhile is met when the session is stored.
	}
	secret, verdict, err := p.secrets.Find(ctx, p.agent, name)
	switch {
	case err != nil:
		return err
	case verdict == tokensecret.Foreign:
		return foreignSession(name)
	case verdict == tokensecret.Ownerless:
		return p.takeover(ctx, secret, foreignSession(name))
	}
	return nil
}

// takeover allows a Secret without an owner to be overwritten, as a restored backup brings it back: it holds nothing
// but what the operator writes, and the remote agent that it names does not exist. Otherwise it returns the conflict.
func (p *pass) takeover(ctx context.Context, secret *corev1.Secret, conflict error) error {
	if !tokensecret.Plain(secret) {
		return conflict
	}
	id, m := tokensecret.Holds(secret), p.memory
	if id == "" || id == m.lost && p.place == m.lostAt || id == m.absent && p.place == m.absentAt {
		return nil
	}
	_, err := p.project.Get(ctx, p.caller(), id)
	if err == nil {
		return conflict
	}
	gone, err := p.provesGone(ctx, id, err)
	if gone {
		m.absent, m.absentAt = id, p.place
	}
	return err
}

// removeFormer deletes a Secret whose name is not declared any more, for the token or the session.
func (p *pass) removeFormer(ctx context.Context, name string) error {
	if slices.Contains(tokensecret.Names(p.agent), name) {
		return nil // The two changed places.
	}
	return p.secrets.Remove(ctx, p.agent, name)
}
