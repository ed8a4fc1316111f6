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
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Conflict is the failure for a foreign Secret; field is the one that names it.
func Conflict(name, field string) *fault.Error {
	return fault.Terminalf(v1alpha1.ReasonSecretConflict,
		"Secret %q exists and is not this Agent's: delete it, or name another Secret in spec.%s", name, field).Coded(fault.SecretForeign)
}

// KeepOwner makes the Agent the owner of its Secret, or removes the owner if the remote agent is retained: a foreground
// deletion would delete the Secret before the Agent's finalizer can prevent that. right is the version in which the
// content was last found correct; it is updated.
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
		*right = written.ResourceVersion // The content did not change.
	}
	return err
}

// misowned reports whether the cache shows a Secret of the Agent with an owner although it is retained, or without one
// although it is deleted with the Agent.
func (k Keeper) misowned(ctx context.Context, agent *v1alpha1.Agent, name string, retained bool) bool {
	secret := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}}
	key := client.ObjectKey{Namespace: agent.Namespace, Name: name}
	if k.Agents.Get(ctx, key, &secret, client.UnsafeDisableDeepCopy) != nil || !Labelled(&secret, agent) {
		return false
	}
	return (len(secret.OwnerReferences) > 0) == retained
}

// RemoveUnowned deletes the Secrets without an owner of an Agent that is being deleted: garbage collection keeps them if
// the Agent retained its remote agent until recently.
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

// mostTidied is how many Secrets Tidy reads. The operator leaves few behind; whoever may write Secrets may write the label on thousands,
// and each costs a read while the Agent has a worker.
const mostTidied = 8

// Tidy deletes the Secrets that the Agent no longer wants. The status may not name them: if the process ended before the
// status was written, or if a name was changed back, only the label shows whose they are. index finds Secrets by the UID in
// their label. Of too many, a later check reads others: a cache returns what it finds by an index in any order.
func (k Keeper) Tidy(ctx context.Context, agent *v1alpha1.Agent, index client.MatchingFields) error {
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	if err := k.Agents.List(ctx, &list, client.InNamespace(agent.Namespace), index, client.UnsafeDisableDeepCopy); err != nil {
		return err
	}
	wanted, tidied := Names(agent), 0
	for i := range list.Items {
		secret := &list.Items[i]
		if !mayBeOurs(secret, agent) || slices.Contains(wanted, secret.Name) {
			continue
		}
		if tidied++; tidied > mostTidied {
			return nil
		}
		if err := k.Remove(ctx, agent, secret.Name); err != nil {
			return err
		}
	}
	return nil
}

// mayBeOurs reports whether the metadata of a Secret allow the verdict Ours.
func mayBeOurs(secret metav1.Object, agent *v1alpha1.Agent) bool {
	owners := secret.GetOwnerReferences()
	owned := slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool { return o.UID == agent.UID })
	return Labelled(secret, agent) && secret.GetDeletionTimestamp() == nil && (owned || len(owners) == 0)
}

// Disown removes the Agent from the owners of its Secret, so that the Secret outlives it, and records where its remote agent is.
// It reports whether the Secret exists.
func (k Keeper) Disown(ctx context.Context, agent *v1alpha1.Agent, name string) (found bool, err error) {
	secret, verdict, err := k.Find(ctx, agent, name)
	kept := verdict == Ours && len(secret.OwnerReferences) == 0 && secret.Annotations[v1alpha1.AnnotationEndpoint] == endpointOf(agent)
	if err != nil || verdict != Ours || kept {
		return verdict != Absent, err
	}
	metav1.SetMetaDataAnnotation(&secret.ObjectMeta, v1alpha1.AnnotationEndpoint, endpointOf(agent))
	secret.OwnerReferences = slices.DeleteFunc(secret.OwnerReferences, func(o metav1.OwnerReference) bool {
		return o.UID == agent.UID
	})
	err = k.Writer.Update(ctx, secret)
	if apiserver.IgnoreGone(err) != nil {
		return true, writeFailure(err, secret)
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
	if apiserver.IgnoreGone(err) != nil {
		return writeFailure(err, secret)
	}
	return nil
}

// TokenData is the desired data of the token Secret; existing is the current Secret, nil if there is none.
func TokenData(id string, token cloud.Token, existing *corev1.Secret) (map[string][]byte, error) {
	if len(token.Reveal()) > cloud.MaxToken {
		return nil, fault.Terminalf(v1alpha1.ReasonInvalidResponse,
			"the token of agent %s is longer than %d bytes: check which server responds at the CloudProject's url", id, cloud.MaxToken)
	}
	// A session is removed, in case the two Secrets changed names: it is binary, and breaks an envFrom.
	data := map[string][]byte{v1alpha1.IDKey: []byte(id), SessionKey: nil, ClassicKey: nil, YAMLKey: nil}
	if token.Usable() {
		data[v1alpha1.TokenKey] = []byte(token.Reveal())
	} else if existing != nil && ID(existing) != id && !Token(existing).IsZero() {
		data[v1alpha1.TokenKey] = nil // The token of another agent is worse than none.
	}
	return data, nil
}
