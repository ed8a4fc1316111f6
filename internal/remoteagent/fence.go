/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Fence maintains what a deletion and a restart rely on: the finalizer, the intent, and the owner of the Secrets. Each can
// be removed or outdated at any time, so it runs before anything that may wait. It makes no remote request, and writes only
// what needs correction.
type Fence struct{ *Task }

// Keep restores what is missing or outdated. While the Agent is being deleted, only the intent is restored: it shows that there may be
// a remote agent to delete. Without the finalizer, which cannot be added then, RemovedAgent deletes that once the Agent is removed.
func (f Fence) Keep(ctx context.Context) error {
	if f.Removed || f.Deleting() && !Fenced(f.Agent) {
		return nil
	}
	err := f.keepIntent(ctx)
	if f.Deleting() && f.Agent.Annotations[v1alpha1.AnnotationOrphan] == "true" {
		return nil // The remote agent is left behind, even if the API server stores no intent.
	}
	if err != nil || f.Deleting() {
		return err
	}
	status := &f.Agent.Status
	if status.ID != "" || f.Open() || len(status.DuplicatesToDelete) > 0 {
		if err := f.keepFinalizer(ctx); err != nil {
			return err
		}
	}
	checks := &f.Known.Secrets
	if err := f.Secrets.KeepOwner(ctx, f.Agent, status.TokenSecretRef, f.Retains(), &checks.Token); err != nil {
		return err
	}
	return f.Secrets.KeepOwner(ctx, f.Agent, status.SessionSecretRef, f.Retains(), &checks.Session)
}

// pruned reports whether somebody removed the intent that this process sent, or wrote an older or foreign one from a repository
// or backup in its place. A later one may be another replica's.
func (f Fence) pruned(sent *v1alpha1.Agent) bool {
	was, now := IntentOf(sent), f.Intent()
	return sent != f.Agent && sent.UID == f.Agent.UID && f.Agent.Status.ID == "" &&
		!was.IsZero() && !was.Spent(ClosedIntent(f.Agent)) && now.String() != was.String() &&
		(!now.At.After(was.At) || ForeignIntent(f.Agent, f.clusterID))
}

// keepIntent restores the intent that this process sent and whose outcome is unknown. Without it the Agent would be
// registered a second time.
func (f Fence) keepIntent(ctx context.Context) error {
	sent := f.Writes.Sent
	if sent == nil || !f.pruned(sent) {
		return nil
	}
	intent := IntentOf(sent).String()
	return f.PatchMeta(ctx, func(a *v1alpha1.Agent) {
		controllerutil.AddFinalizer(a, v1alpha1.AgentFinalizer)
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
	})
}

// Forgets reports whether this reconciliation knows less of a registration than an earlier one, which could not write its
// result or whose intent somebody removed.
func (f Fence) Forgets(sent *v1alpha1.Agent) bool {
	return f.pruned(sent) || sent.Status.ID != "" && f.Agent.Status.ID == "" && IntentOf(sent) == f.Intent()
}

// CloseAgain closes an intent whose closing could not be written: this process knows that it created nothing.
func (f Fence) CloseAgain() {
	sent := f.Writes.Sent
	if sent != nil && sent.UID == f.Agent.UID && sent.Status.ID == "" && !inDoubt(sent, f.clusterID, f.began) &&
		f.Open() && IntentOf(sent).String() == f.Intent().String() {
		f.closeIntent()
	}
}

// An Agent can be removed while it is being registered, in spite of its finalizer: a DELETE that finds no finalizer
// removes the object even if one is written before it is done (the API server reads the object again after a conflict,
// but does not look at its finalizers again: Delete in k8s.io/apiserver's generic registry). What the registration
// created is known to this process alone, and is deleted before a new Agent of the name is reconciled.

// RemovedAgent returns a task for an Agent that was removed in this way. now is the UID of the Agent that has the name, empty if
// none has it. Without a task, found says that there is nothing to do yet.
func (o *Operator) RemovedAgent(ctx context.Context, key types.NamespacedName, now types.UID, k *Known) (*Task, bool, error) {
	if k == nil || k.Writes.Sent == nil || k.Writes.Sent.UID == now {
		return nil, false, nil
	}
	sent := k.Writes.Sent
	var live v1alpha1.Agent
	if err := o.APIReader.Get(ctx, key, &live); err == nil && live.UID == sent.UID {
		return nil, true, nil // The cache will show it.
	} else if err != nil && !apierrors.IsNotFound(err) {
		return nil, true, err
	}
	if sent.DeletionTimestamp.IsZero() {
		sent.DeletionTimestamp = new(metav1.NewTime(o.Clock.Now()))
		Logger(ctx).Info("The Agent was removed while it was being registered")
	}
	t := NewTask(o, sent, k)
	t.Draft.Removed = true
	return t, true, nil
}
