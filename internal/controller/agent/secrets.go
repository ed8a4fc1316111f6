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
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// secretKeeper keeps the Secrets with the remote agent's ID and token, and with its session.
type secretKeeper struct{ *task }

// keep stores the remote agent's ID and token, repairs the Secrets, and follows a changed name.
func (s secretKeeper) keep(ctx context.Context) error {
	checks, applied := &s.Known.Secrets, &s.Agent.Status.Applied
	// Nothing that this reconciliation learned may differ from what was found right.
	learned := s.Token.Usable() && s.Token.Digest() != checks.Digest
	if !checks.Right || s.Created || learned || !s.secretsKept(ctx) {
		if err := s.bring(ctx); err != nil || s.TokenMissing {
			s.RecheckSecrets()
			return err
		}
		checks.Right, s.Known.Absence.Lost = true, remoteagent.Whereabouts{}
	}
	applied.TokenSecretResourceVersion, applied.SessionSecretResourceVersion = checks.Token, checks.Session
	return s.Secrets.Tidy(ctx, s.Agent, remoteagent.OfSecrets(s.Agent.UID))
}

// bring writes the Secrets, as far as the token is known.
func (s secretKeeper) bring(ctx context.Context) error {
	name, status := tokensecret.Name(s.Agent), &s.Agent.Status
	secret, err := s.keepToken(ctx, name)
	if err != nil {
		return err
	}
	if err := s.removeFormer(ctx, status.TokenSecretRef, name); err != nil {
		return err
	}
	status.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: name}
	s.Known.Secrets.Right = false
	token := tokensecret.Token(secret)
	if s.TokenMissing = !token.Usable(); s.TokenMissing {
		return nil
	}
	s.Known.Secrets.Digest = token.Digest()
	return s.keepSession(ctx, token)
}

// keepToken writes the token Secret and returns the result.
func (s secretKeeper) keepToken(ctx context.Context, name string) (*corev1.Secret, error) {
	var secret *corev1.Secret
	verdict := tokensecret.Absent
	// Right after the registration the cache is enough: a Secret that it misses makes the create fail.
	if seen := s.Version(ctx, s.Agent.Namespace, "Secret", name); !s.Created || seen != "" {
		var err error
		if secret, verdict, err = s.Secrets.Find(ctx, s.Agent, name); err != nil {
			return nil, err
		}
	}
	if err := s.writable(ctx, secret, verdict, name); err != nil {
		return nil, err
	}
	token, err := s.bestToken(ctx, secret)
	if err != nil {
		return nil, err
	}
	data, err := tokensecret.TokenData(s.Agent.Status.ID, token, secret)
	if err != nil {
		return nil, err
	}
	repaired := secret != nil || s.Agent.Status.TokenSecretRef != nil
	written, err := s.put(ctx, secret, tokensecret.Desired{
		Name: name, Data: data, Registration: s.Agent.Status.RegistrationIntent, Retained: s.Retains(),
	}, repaired)
	if err != nil {
		return nil, err
	}
	s.Known.Secrets.Token = written.ResourceVersion
	s.Writes.TokenStored()
	return written, nil
}

// put writes a Secret, and logs a repair.
func (s secretKeeper) put(
	ctx context.Context, secret *corev1.Secret, desired tokensecret.Desired, repaired bool,
) (*corev1.Secret, error) {
	before := s.versionOf(ctx, desired.Name)
	written, err := s.Secrets.Put(ctx, s.Agent, secret, desired)
	if err != nil && written != nil {
		s.Known.Secrets.NotStored = &remoteagent.NotStored{Version: written.ResourceVersion, Before: before}
	}
	if err == nil && repaired && !s.Created && (secret == nil || written.ResourceVersion != secret.ResourceVersion) {
		remoteagent.Logger(ctx).Info("Repaired a Secret", "secret", desired.Name)
	}
	return written, err
}

// writable decides whether the Secret may be written.
func (s secretKeeper) writable(ctx context.Context, secret *corev1.Secret, verdict tokensecret.Verdict, name string) error {
	switch verdict {
	case tokensecret.Foreign:
		return tokensecret.Conflict(name, remoteagent.TokenField)
	case tokensecret.Ownerless:
		if tokensecret.ID(secret) != s.Agent.Status.ID {
			return remoteagent.SecretPreflight{Task: s.Task}.AllowOverwrite(ctx, secret, tokensecret.Conflict(name, remoteagent.TokenField))
		}
	case tokensecret.Ours:
		return s.yield(ctx, secret)
	case tokensecret.Absent, tokensecret.Doomed:
	}
	return nil
}

// yield switches to another existing remote agent that the Secret names: a leader that had unknowingly lost its lease
// registered this one, which becomes a duplicate. Both are recorded before the Secret is completed and the duplicate deleted.
func (s secretKeeper) yield(ctx context.Context, secret *corev1.Secret) error {
	remote, err := remoteagent.Another{Task: s.Task}.Own(ctx, secret, tokensecret.Ours)
	if err != nil || remote == nil {
		return err
	}
	status := &s.Agent.Status
	status.DuplicatesToDelete = append(status.DuplicatesToDelete, status.ID)
	remoteagent.Observer{Task: s.Task}.Put(remote.ID, remote.MachineID)
	s.SawRead(remote)
	return remoteagent.RecordFirst() // Not quiet: this agent is not known to be as declared.
}

// bestToken is the token that the API shows. The token in the Secret counts if the Secret is unchanged since it was last
// found right, or if the API shows no token.
func (s secretKeeper) bestToken(ctx context.Context, secret *corev1.Secret) (cloud.Token, error) {
	held, checks := (remoteagent.Evidence{Task: s.Task}).HeldToken(), s.Known.Secrets
	// A token that is held was not stored: the Secret may hold what a webhook made of it.
	if !held.Usable() && secret != nil && tokensecret.ID(secret) == s.Agent.Status.ID {
		held = tokensecret.Token(secret)
	}
	if checks.Right && !s.Token.Usable() && held.Usable() && secret != nil && secret.ResourceVersion == checks.Token {
		return held, nil
	}
	if !s.Token.Usable() && s.Remote == nil {
		if err := (remoteagent.Observer{Task: s.Task}).Read(ctx); err != nil {
			return cloud.Token{}, err
		}
	}
	if s.Token.Usable() {
		return s.Token, nil
	}
	if !held.Usable() {
		return s.formerToken(ctx)
	}
	return held, nil
}

// formerToken is the token in a Secret whose name is no longer declared: if the API shows no token, only that Secret
// has it.
func (s secretKeeper) formerToken(ctx context.Context) (cloud.Token, error) {
	before := s.Agent.Status.TokenSecretRef
	if before == nil || before.Name == tokensecret.Name(s.Agent) {
		return cloud.Token{}, nil
	}
	secret, verdict, err := s.Secrets.Find(ctx, s.Agent, before.Name)
	if err != nil || verdict != tokensecret.Ours || tokensecret.ID(secret) != s.Agent.Status.ID {
		return cloud.Token{}, err
	}
	return tokensecret.Token(secret), nil
}

// keepSession stores the session of a real Fluent Bit, if the spec asks for it. It writes the new Secret before it deletes
// a former one.
func (s secretKeeper) keepSession(ctx context.Context, token cloud.Token) error {
	status := &s.Agent.Status
	name, wanted := tokensecret.SessionName(s.Agent)
	if wanted {
		if err := s.putSession(ctx, name, token); err != nil {
			return err
		}
	}
	if err := s.removeFormer(ctx, status.SessionSecretRef, name); err != nil {
		return err
	}
	status.SessionSecretRef = nil
	if !wanted {
		s.Known.Secrets.Session = ""
	} else {
		status.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: name}
	}
	return nil
}

func (s secretKeeper) putSession(ctx context.Context, name string, token cloud.Token) error {
	status := &s.Agent.Status
	where, err := url.Parse(status.URL)
	if err != nil {
		return err
	}
	data, err := tokensecret.Session{ID: status.ID, Token: token, MachineID: status.MachineID, URL: where}.Data()
	if err != nil {
		return err
	}
	secret, verdict, err := s.Secrets.Find(ctx, s.Agent, name)
	if err != nil {
		return err
	}
	if verdict == tokensecret.Foreign || verdict == tokensecret.Ownerless && tokensecret.SessionID(secret) != status.ID {
		if err := (remoteagent.SecretPreflight{Task: s.Task}).Usable(ctx, secret, verdict, name); err != nil {
			return err
		}
	}
	data[v1alpha1.IDKey], data[v1alpha1.TokenKey] = nil, nil
	written, err := s.put(ctx, secret, tokensecret.Desired{Name: name, Data: data, Retained: s.Retains()}, status.SessionSecretRef != nil)
	if err == nil {
		s.Known.Secrets.Session = written.ResourceVersion
	}
	return err
}

// removeFormer deletes a Secret whose name is no longer declared, for the token or the session.
func (s secretKeeper) removeFormer(ctx context.Context, before *v1alpha1.LocalSecretReference, now string) error {
	if before == nil || before.Name == now || slices.Contains(tokensecret.Names(s.Agent), before.Name) {
		return nil // Also if the two names were swapped.
	}
	return s.Secrets.Remove(ctx, s.Agent, before.Name)
}
