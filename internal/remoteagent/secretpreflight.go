/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"net/url"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// Fields of the spec that name Secrets.
const (
	TokenField   = "tokenSecretRef"
	sessionField = "sessionSecretRef"
)

// SecretPreflight checks whether the Secrets of the Agent may be written, before and after the registration.
type SecretPreflight struct{ *Task }

// Usable refuses a session Secret that is not the Agent's.
func (s SecretPreflight) Usable(ctx context.Context, secret *corev1.Secret, verdict tokensecret.Verdict, name string) error {
	switch verdict {
	case tokensecret.Foreign:
		return tokensecret.Conflict(name, sessionField)
	case tokensecret.Ownerless:
		return s.AllowOverwrite(ctx, secret, tokensecret.Conflict(name, sessionField))
	default:
		return nil
	}
}

// Possible refuses Secrets that can never be written, and a session that could never report, before anything is registered.
func (s SecretPreflight) Possible(context.Context) error {
	for i, name := range tokensecret.Names(s.Agent) {
		if !tokensecret.CanExist(name) {
			return fault.Terminalf(v1alpha1.ReasonInvalid, "spec.%s.name: no Secret can have the name %q: correct it",
				[]string{TokenField, sessionField}[i], name)
		}
	}
	if _, wanted := tokensecret.SessionName(s.Agent); !wanted {
		return nil
	}
	base, err := url.Parse(s.Endpoint.URL)
	if err != nil {
		return err
	}
	return tokensecret.UsableURL(base)
}

// sessionFree refuses a session Secret that is not the Agent's, before anything is registered.
func (s SecretPreflight) sessionFree(ctx context.Context) error {
	name, wanted := tokensecret.SessionName(s.Agent)
	if !wanted || s.Version(ctx, s.Agent.Namespace, "Secret", name) == "" {
		return nil // A Secret that appears later is found when the session is stored.
	}
	secret, verdict, err := s.Secrets.Find(ctx, s.Agent, name)
	if err != nil {
		return err
	}
	return s.Usable(ctx, secret, verdict, name)
}

// AllowOverwrite allows overwriting a Secret without an owner, as a restored backup leaves it: it contains only what the
// operator writes, and its remote agent does not exist. Otherwise it returns the conflict.
func (s SecretPreflight) AllowOverwrite(ctx context.Context, secret *corev1.Secret, conflict error) error {
	if !tokensecret.Plain(secret) {
		return conflict
	}
	// That an agent does not exist here shows nothing of one that was retained elsewhere.
	url, projectID := tokensecret.Endpoint(secret)
	if url != "" && connection.Recorded(url, projectID) != s.Endpoint {
		return conflict
	}
	absence, id := Absence{s.Task}, tokensecret.Holds(secret)
	if !cloud.ValidID(id) || s.Known.Absence.Lost == (Whereabouts{id, s.Endpoint}) {
		return nil
	}
	if !absence.confirmed(id) {
		if remote, err := absence.candidate(ctx, id); err != nil {
			return err
		} else if remote != nil {
			return conflict
		}
	}
	if url != "" && !s.Project.Vouched() { // Else the token may be another project's. A read of the agent has verified it.
		return conflict
	}
	return nil
}

// RecheckSecrets makes this process, or the next one, write the Secrets before the Agent counts as up to date.
func (t *Task) RecheckSecrets() {
	t.Known.Secrets.Right, t.Known.Secrets.Token = false, ""
	applied := &t.Agent.Status.Applied
	applied.TokenSecretResourceVersion, applied.SessionSecretResourceVersion = "", ""
}
