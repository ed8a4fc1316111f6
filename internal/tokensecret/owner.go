/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tokensecret

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Conflict refuses a Secret that is somebody else's; field is the one that names it.
func Conflict(name, field string) *fault.Error {
	return fault.Terminalf(v1alpha1.ReasonSecretConflict,
		"Secret %q exists and is not this Agent's: delete it, or name another Secret in spec.%s", name, field).Coded(fault.SecretForeign)
}

// KeepOwner makes the Agent the owner of its Secret, or leaves the Secret without an owner where the remote agent is
// retained: a foreground deletion would delete it before the Agent's finalizer can prevent that. right is the version
// in which the Secret was found right, and follows.
func (k Keeper) KeepOwner(
	ctx context.Context, agent *v1alpha1.Agent, ref *v1alpha1.LocalSecretReference, retained bool, right *string,
) error {
	if ref == nil || !k.misowned(ctx, agent, ref.Name, retained) {
		return nil
	}
	secret, verdict, err := k.Find(ctx, agent, ref.Name)
	if err != nil || verdict != Ours {
		return err
	}
	written, err := k.Put(ctx, agent, secret, Desired{Name: ref.Name, Retained: retained})
	if err == nil && *right == secret.ResourceVersion {
		*right = written.ResourceVersion // Its content is as it was.
	}
	return err
}

// misowned reports whether the cache shows a Secret of the Agent with an owner though it is to be retained, or without
// one though it is to be deleted with the Agent.
func (k Keeper) misowned(ctx context.Context, agent *v1alpha1.Agent, name string, retained bool) bool {
	secret := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	key := client.ObjectKey{Namespace: agent.Namespace, Name: name}
	if k.Agents.Get(ctx, key, &secret, client.UnsafeDisableDeepCopy) != nil || !Labelled(&secret, agent) {
		return false
	}
	return (len(secret.OwnerReferences) > 0) == retained
}

// RemoveUnowned deletes the Secrets of an Agent that goes which no owner takes along: it was to retain its remote agent
// until shortly before.
func (k Keeper) RemoveUnowned(ctx context.Context, agent *v1alpha1.Agent) error {
	for _, ref := range []*v1alpha1.LocalSecretReference{agent.Status.TokenSecretRef, agent.Status.SessionSecretRef} {
		if ref == nil || !k.misowned(ctx, agent, ref.Name, false) {
			continue
		}
		if err := k.Remove(ctx, agent, ref.Name); err != nil {
			return err
		}
	}
	return nil
}

// Tidy removes Secrets of the Agent that it does not want any more. The status names one before a change only if it was
// written: a process that ended in between, or a name that was changed back meanwhile, leaves a Secret with a token
// behind that only its label tells. index finds the Secrets by the UID in their label.
func (k Keeper) Tidy(ctx context.Context, agent *v1alpha1.Agent, index client.MatchingFields) error {
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := k.Agents.List(ctx, &list, client.InNamespace(agent.Namespace), index, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	wanted := Names(agent)
	for i := range list.Items {
		if secret := &list.Items[i]; Labelled(secret, agent) && !slices.Contains(wanted, secret.Name) {
			if err := k.Remove(ctx, agent, secret.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// Disown takes the Agent out of the owners of its Secret, so that it outlives the Agent. It reports whether there is a
// Secret of the name.
func (k Keeper) Disown(ctx context.Context, agent *v1alpha1.Agent, name string) (found bool, err error) {
	secret, verdict, err := k.Find(ctx, agent, name)
	if err != nil || verdict != Ours || len(secret.OwnerReferences) == 0 {
		return verdict != Absent, err
	}
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.UID == agent.UID
	})
	err = k.Writer.Update(ctx, secret)
	if client.IgnoreNotFound(err) != nil {
		return true, writeFailure(name, err)
	}
	return err == nil, nil
}

// Remove deletes a Secret of the Agent that is no longer wanted. A Secret that is not the Agent's stays.
func (k Keeper) Remove(ctx context.Context, agent *v1alpha1.Agent, name string) error {
	secret, verdict, err := k.Find(ctx, agent, name)
	if err != nil || verdict != Ours {
		return err
	}
	return k.remove(ctx, secret)
}

func (k Keeper) remove(ctx context.Context, secret *corev1.Secret) error {
	err := k.Writer.Delete(ctx, secret, client.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return writeFailure(secret.Name, err)
	}
	return nil
}

// TokenData is what the token Secret shall hold of a remote agent; existing is the Secret as it is, nil if there is none.
func TokenData(id string, token cloud.Token, existing *corev1.Secret) (map[string][]byte, error) {
	if len(token.Reveal()) > MaxToken {
		return nil, fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"the token of agent %s is longer than %d bytes: check what answers at the CloudProject's url", id, MaxToken)
	}
	// No session stays where the two Secrets changed places: it is binary, and breaks an envFrom.
	data := map[string][]byte{v1alpha1.IDKey: []byte(id), SessionKey: nil, ClassicKey: nil, YAMLKey: nil}
	if token.Usable() {
		data[v1alpha1.TokenKey] = []byte(token.Reveal())
	} else if existing != nil && ID(existing) != id && !Token(existing).IsZero() {
		data[v1alpha1.TokenKey] = nil // Of another agent: worse than none.
	}
	return data, nil
}
