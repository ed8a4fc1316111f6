/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package tokensecret builds, verifies and repairs the Secrets that an Agent
// owns: the one with its id and token, and the one with its session.
package tokensecret

import (
	"bytes"
	"cmp"
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Verdict says who owns a Secret.
type Verdict int

const (
	// Absent: the Secret does not exist.
	Absent Verdict = iota
	// Ours: labelled for this Agent, and owned by it or recorded as its own.
	Ours
	// Ownerless: kept for an earlier Agent, without an owner. It is ours if the remote agent confirms its id.
	Ownerless
	// Doomed: owned by deleted Agents. Garbage collection will delete it, unless it gets a new owner.
	Doomed
	// Foreign: owned by somebody else. It is never written.
	Foreign
)

// TokenSuffix and SessionSuffix follow the Agent's name in the default names of its Secrets.
const (
	TokenSuffix   = "-token"
	SessionSuffix = "-session"
)

// Name of the Secret with the token of an Agent.
func Name(agent *v1alpha1.Agent) string {
	if ref := agent.Spec.TokenSecretRef; ref != nil && ref.Name != "" {
		return ref.Name
	}
	return agent.Name + TokenSuffix
}

// Keeper reads and writes the Secrets of Agents.
type Keeper struct {
	// Reader reads Secrets from the API server itself, and the Agents that own them.
	Reader client.Reader
	// Agents lists the Agents of a namespace from a cache. It is used only for Secrets without an owner.
	Agents client.Reader
	Writer client.Writer
}

// CanExist reports whether a Secret can have a name. An object older than the validation of names may have any, which is never sent.
func CanExist(name string) bool { return len(validation.IsDNS1123Subdomain(name)) == 0 }

// Find reads a Secret in the Agent's namespace, and returns the verdict on it.
func (k Keeper) Find(ctx context.Context, agent *v1alpha1.Agent, name string) (*corev1.Secret, Verdict, error) {
	if !CanExist(name) {
		return nil, Absent, nil
	}
	var secret corev1.Secret
	err := k.Reader.Get(ctx, client.ObjectKey{Namespace: agent.Namespace, Name: name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, Absent, nil
	}
	if err != nil {
		return nil, Absent, readFailure(name, err)
	}
	verdict, err := k.judge(ctx, agent, &secret)
	return &secret, verdict, err
}

// MostOwners is how many owners of a Secret are looked at. The operator writes one; whoever writes Secrets may write thousands, and
// each costs a read, or a place in the queue.
const MostOwners = 8

func (k Keeper) judge(ctx context.Context, agent *v1alpha1.Agent, secret *corev1.Secret) (Verdict, error) {
	uid, labelled := secret.Labels[v1alpha1.LabelAgentUID]
	if !labelled || secret.DeletionTimestamp != nil {
		return Foreign, nil
	}
	for _, owner := range secret.OwnerReferences {
		if owner.UID == agent.UID {
			if uid != string(agent.UID) {
				return Foreign, nil
			}
			return Ours, nil
		}
	}
	if len(secret.OwnerReferences) > MostOwners {
		return Foreign, nil
	}
	for _, owner := range secret.OwnerReferences {
		if owner.APIVersion != v1alpha1.GroupVersion.String() || owner.Kind != "Agent" {
			return Foreign, nil
		}
		key := client.ObjectKey{Namespace: agent.Namespace, Name: owner.Name}
		if len(content.IsPathSegmentName(key.Name)) > 0 { // Whoever may write Secrets writes any name. It is not sent to the API server.
			continue
		}
		var other v1alpha1.Agent
		err := k.Reader.Get(ctx, key, &other)
		if apiserver.IgnoreGone(err) != nil {
			return Foreign, readFailure(secret.Name, err)
		}
		if err == nil && other.UID == owner.UID {
			return Foreign, nil
		}
	}
	if len(secret.OwnerReferences) > 0 {
		return Doomed, nil
	}
	return k.judgeOwnerless(ctx, agent, secret)
}

// judgeOwnerless returns the verdict on a Secret without an owner. The label alone is no evidence: anyone who may write
// Secrets may write it.
func (k Keeper) judgeOwnerless(ctx context.Context, agent *v1alpha1.Agent, secret *corev1.Secret) (Verdict, error) {
	status := &agent.Status
	if Labelled(secret, agent) {
		for _, ref := range []*v1alpha1.LocalSecretReference{status.TokenSecretRef, status.SessionSecretRef} {
			if ref != nil && ref.Name == secret.Name {
				return Ours, nil
			}
		}
		if status.ID != "" && Holds(secret) == status.ID && Plain(secret) { // With other keys it may be a user's copy.
			return Ours, nil
		}
		return Ownerless, nil
	}
	// The Secrets of an Agent that retains its remote agent have no owner while the Agent lives.
	var others v1alpha1.AgentList
	if err := k.Agents.List(ctx, &others, client.InNamespace(agent.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return Foreign, readFailure(secret.Name, err)
	}
	for i := range others.Items {
		if string(others.Items[i].UID) == secret.Labels[v1alpha1.LabelAgentUID] {
			return Foreign, nil
		}
	}
	return Ownerless, nil
}

// Labelled reports whether a Secret has the label of this Agent.
func Labelled(secret metav1.Object, agent *v1alpha1.Agent) bool {
	uid, labelled := Owner(secret)
	return labelled && uid == agent.UID
}

// Plain reports whether a Secret has only the keys that the operator writes.
func Plain(secret *corev1.Secret) bool {
	for key := range secret.Data {
		switch key {
		case v1alpha1.IDKey, v1alpha1.TokenKey, SessionKey, ClassicKey, YAMLKey:
		default:
			return false
		}
	}
	return true
}

// Holds returns the ID of the remote agent that a Secret names, in its id or its session; empty if there is none.
func Holds(secret *corev1.Secret) string { return cmp.Or(ID(secret), SessionID(secret)) }

// Desired is the desired state of a Secret of an Agent.
type Desired struct {
	Name string
	// Data is set, or removed if the value is nil; other keys stay.
	Data map[string][]byte
	// Registration is the registration intent of the remote agent; empty leaves it unchanged.
	Registration string
	// Retained leaves the Secret without an owner: garbage collection would delete it with the Agent, in the foreground
	// even before the Agent's finalizer is removed.
	Retained bool
}

// Put creates the Secret if existing is nil, updates it if it differs, and else does nothing. existing must be the
// Agent's own, or confirmed to be. It returns the resulting Secret, also if that lacks what was written, which
// is a failure.
func (k Keeper) Put(
	ctx context.Context, agent *v1alpha1.Agent, existing *corev1.Secret, desired Desired,
) (*corev1.Secret, error) {
	if existing == nil {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: agent.Namespace, Name: desired.Name}}
		shape(secret, agent, desired)
		if err := k.Writer.Create(ctx, secret); err != nil {
			return nil, writeFailure(err, secret)
		}
		return secret, NotStored(desired.Name, desired.Data, secret.Data)
	}
	secret := existing.DeepCopy()
	if !shape(secret, agent, desired) {
		return existing, nil
	}
	if err := k.Writer.Update(ctx, secret); err != nil {
		return nil, writeFailure(err, secret, existing)
	}
	return secret, NotStored(desired.Name, desired.Data, secret.Data)
}

// shape sets the desired state, and reports whether anything changed.
func shape(secret *corev1.Secret, agent *v1alpha1.Agent, desired Desired) (changed bool) {
	set := func(m *map[string]string, key, value string) {
		if (*m)[key] == value {
			return
		}
		if *m == nil {
			*m = map[string]string{}
		}
		(*m)[key], changed = value, true
	}
	set(&secret.Labels, v1alpha1.LabelAgentUID, string(agent.UID))
	set(&secret.Labels, "app.kubernetes.io/managed-by", "calyptia-agent-operator")
	if desired.Registration != "" {
		set(&secret.Annotations, v1alpha1.AnnotationRegistrationIntent, desired.Registration)
	}
	_, located := secret.Annotations[v1alpha1.AnnotationEndpoint]
	switch {
	case desired.Retained && agent.Status.URL != "":
		set(&secret.Annotations, v1alpha1.AnnotationEndpoint, endpointOf(agent))
	case !desired.Retained && located: // Nothing would keep it up to date.
		delete(secret.Annotations, v1alpha1.AnnotationEndpoint)
		changed = true
	}
	switch owners := secret.OwnerReferences; {
	case desired.Retained && len(owners) > 0:
		secret.OwnerReferences, changed = nil, true
	case !desired.Retained && (len(owners) != 1 || owners[0].UID != agent.UID):
		secret.OwnerReferences, changed = []metav1.OwnerReference{{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: agent.Name, UID: agent.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
		}}, true
	}
	for key, value := range desired.Data {
		have, found := secret.Data[key]
		switch {
		case found == (value != nil) && bytes.Equal(have, value):
			continue
		case value == nil:
			delete(secret.Data, key)
			changed = true
			continue
		}
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		secret.Data[key], changed = value, true
	}
	return changed
}

// ID returns the ID in the Secret, trimmed and in lower case, because users paste it.
func ID(secret *corev1.Secret) string {
	return cloud.NormalID(strings.TrimSpace(string(secret.Data[v1alpha1.IDKey])))
}

// Token returns the token in the Secret, trimmed, because users paste it. A malformed token is not Usable.
func Token(secret *corev1.Secret) cloud.Token {
	raw := secret.Data[v1alpha1.TokenKey]
	token, err := cloud.TrimToken(raw)
	if err != nil {
		return cloud.NewToken(string(raw))
	}
	return token
}

// Registration returns the registration intent that the Secret's content came from.
func Registration(secret *corev1.Secret) string {
	return secret.Annotations[v1alpha1.AnnotationRegistrationIntent]
}

// Endpoint returns the URL and the project of the retained remote agent of a Secret; empty if they are not known.
func Endpoint(secret *corev1.Secret) (url, projectID string) {
	url, projectID, _ = strings.Cut(secret.Annotations[v1alpha1.AnnotationEndpoint], " ")
	return url, projectID
}

// endpointOf is what Endpoint returns of the Secret of a retained agent. A project that was only claimed is not known.
func endpointOf(agent *v1alpha1.Agent) string {
	if agent.Status.ProjectClaimed {
		return agent.Status.URL + " "
	}
	return agent.Status.URL + " " + agent.Status.ProjectID
}

// Owner returns the UID of the Agent of a Secret, from its metadata.
func Owner(secret metav1.Object) (types.UID, bool) {
	uid, labelled := secret.GetLabels()[v1alpha1.LabelAgentUID]
	return types.UID(uid), labelled
}
