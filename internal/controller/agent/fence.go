/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// fence keeps up what a deletion and a restart rely on: the finalizer, the record of a registration, and who owns the
// Secrets. Each can be removed or outdated at any moment, so nothing else that an Agent waits for delays it. It makes
// no remote call, and writes only what is not right.
func (p *pass) fence(ctx context.Context) error {
	if p.vanished || !p.agent.DeletionTimestamp.IsZero() {
		return nil
	}
	if err := p.keepIntent(ctx); err != nil {
		return err
	}
	status := &p.agent.Status
	if status.ID != "" || p.open() || len(status.DuplicatesToDelete) > 0 {
		if err := p.keepFinalizer(ctx); err != nil {
			return err
		}
	}
	if err := p.keepOwner(ctx, status.TokenSecretRef, &p.memory.secretVersion); err != nil {
		return err
	}
	return p.keepOwner(ctx, status.SessionSecretRef, &p.memory.sessionVersion)
}

// fenced reports whether the Agent has the operator's finalizer.
func fenced(a client.Object) bool {
	return controllerutil.ContainsFinalizer(a, v1alpha1.AgentFinalizer)
}

// pruned reports whether somebody removed the record of a registration that this process sent, or put back an older one
// from a repository or backup. A later one may be another replica's.
func (p *pass) pruned(posted *v1alpha1.Agent) bool {
	sent, now := intentOf(posted), p.intent()
	return posted != p.agent && posted.UID == p.agent.UID && p.agent.Status.ID == "" &&
		!sent.IsZero() && !sent.Spent(p.closed()) && now.String() != sent.String() && !now.At.After(sent.At)
}

// keepIntent restores the record of a registration that this process sent and whose outcome is unknown. Without it the
// Agent would be registered a second time.
func (p *pass) keepIntent(ctx context.Context) error {
	posted := p.memory.posted
	if posted == nil || !p.pruned(posted) {
		return nil
	}
	intent := intentOf(posted).String()
	return p.patchMeta(ctx, func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
	})
}

// keepOwner makes the Agent the owner of its Secret, or leaves the Secret without an owner where the remote agent is
// retained: a foreground deletion would delete it before the Agent's finalizer can prevent that.
func (p *pass) keepOwner(ctx context.Context, ref *v1alpha1.LocalSecretReference, verified *string) error {
	if ref == nil || !p.misowned(ctx, ref.Name) {
		return nil
	}
	secret, verdict, err := p.secrets.Find(ctx, p.agent, ref.Name)
	if err != nil || verdict != tokensecret.Ours {
		return err
	}
	written, err := p.secrets.Put(ctx, p.agent, secret, tokensecret.Desired{Name: ref.Name, Retained: p.retains()})
	if err == nil && *verified == secret.ResourceVersion {
		*verified = written.ResourceVersion // Its content is as it was.
	}
	return err
}

// misowned reports whether the cache shows a Secret of the Agent with an owner though it is to be retained, or without
// one though it is to be deleted with the Agent.
func (p *pass) misowned(ctx context.Context, name string) bool {
	secret := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	key := client.ObjectKey{Namespace: p.agent.Namespace, Name: name}
	if p.Client.Get(ctx, key, &secret, client.UnsafeDisableDeepCopy) != nil || !tokensecret.Labelled(&secret, p.agent) {
		return false
	}
	return (len(secret.OwnerReferences) > 0) == p.retains()
}

// removeUnowned deletes the Secrets that no owner takes along: those of an Agent that was to retain its remote agent
// until shortly before its deletion.
func (p *pass) removeUnowned(ctx context.Context) error {
	if p.vanished || p.retains() {
		return nil
	}
	for _, ref := range []*v1alpha1.LocalSecretReference{p.agent.Status.TokenSecretRef, p.agent.Status.SessionSecretRef} {
		if ref == nil || !p.misowned(ctx, ref.Name) {
			continue
		}
		if err := p.secrets.Remove(ctx, p.agent, ref.Name); err != nil {
			return err
		}
	}
	return nil
}

// rescue writes a Secret again that the garbage collector deleted although the remote agent is retained, because that
// was declared too shortly before the deletion. It succeeds where Calyptia Cloud shows the token. The Agent waits for
// that no longer than for a late response.
func (p *pass) rescue(ctx context.Context, name string) error {
	status := &p.agent.Status
	isToken := status.TokenSecretRef != nil && status.TokenSecretRef.Name == name
	isSession := status.SessionSecretRef != nil && status.SessionSecretRef.Name == name
	if p.vanished || !isToken && !isSession || p.namespaceGoes(ctx) {
		return nil
	}
	err := p.tokenShown(ctx)
	if err == nil && p.token.Usable() {
		desired := tokensecret.Desired{
			Name: name, Registration: status.RegistrationIntent, Retained: true,
			Data: map[string][]byte{v1alpha1.IDKey: []byte(status.ID), v1alpha1.TokenKey: []byte(p.token.Reveal())},
		}
		if isSession {
			err = p.putSession(ctx, name, p.token)
		} else {
			_, err = p.secrets.Put(ctx, p.agent, nil, desired)
		}
	}
	f := classify(err)
	if f.Error != nil && f.Class != fault.Terminal && p.Clock.Since(p.agent.DeletionTimestamp.Time) < p.Settings.Slack {
		return f.After(p.Settings.BackoffMin)
	}
	logger(ctx).Info("A Secret of the retained agent was deleted with the Agent",
		"secret", name, "restored", f.Error == nil && p.token.Usable())
	return nil
}

// tokenShown asks Calyptia Cloud for the token of the remote agent.
func (p *pass) tokenShown(ctx context.Context) error {
	if p.token.Usable() {
		return nil
	}
	if err := p.resolveProject(ctx); err != nil {
		return err
	}
	remote, err := p.ours(ctx, p.agent.Status.ID)
	if err == nil && remote != nil {
		p.token = remote.Token
	}
	return err
}

// namespaceGoes reports whether the namespace is being deleted: then nothing can be created in it.
func (p *pass) namespaceGoes(ctx context.Context) bool {
	namespace := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	err := p.APIReader.Get(ctx, client.ObjectKey{Name: p.agent.Namespace}, &namespace)
	return err == nil && namespace.DeletionTimestamp != nil
}
