/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// An Agent can vanish while it is being registered, in spite of its finalizer: a DELETE that finds no
// finalizer removes the object even if one is written before it is done (the API server reads the object
// again after a conflict, but does not look at its finalizers again: Delete in k8s.io/apiserver's generic
// registry). What the registration made is known to this process alone, and is deleted before a new Agent
// of the name is looked at.

// vanished returns a pass over an Agent that was removed so. now is the UID of the Agent that has the name,
// empty if none has it.
func (r *Reconciler) vanished(ctx context.Context, key types.NamespacedName, now types.UID, m *memory) (*pass, bool, error) {
	if m == nil || m.posted == nil || m.posted.UID == now {
		return nil, false, nil
	}
	var live v1alpha1.Agent
	if err := r.APIReader.Get(ctx, key, &live); err == nil && live.UID == m.posted.UID {
		return nil, true, nil // The cache will show it.
	} else if err != nil && !apierrors.IsNotFound(err) {
		return nil, true, err
	}
	if m.posted.DeletionTimestamp.IsZero() {
		m.posted.DeletionTimestamp = new(metav1.NewTime(r.Clock.Now()))
		logger(ctx).Info("The Agent was removed while it was being registered")
	}
	return &pass{Reconciler: r, base: m.posted, agent: m.posted.DeepCopy(), memory: m, vanished: true}, true, nil
}

// stillThere fails if the Agent vanished when its finalizer was written. Few that vanish escape this look;
// those are found out when the status is written.
func (p *pass) stillThere(ctx context.Context) error {
	live := metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Agent"))
	err := p.APIReader.Get(ctx, p.key(), &live)
	if apierrors.IsNotFound(err) || err == nil && live.UID != p.agent.UID {
		return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("agents").GroupResource(), p.agent.Name)
	}
	return nil // Not knowing is no reason to leave a registration open that was not tried.
}

// hopeless reports whether trying on would not get rid of what a vanished Agent left behind, or would take
// longer than a new Agent of its name should have to wait.
func (p *pass) hopeless(err error) bool {
	f := classify(err)
	return p.vanished && (f.Class == fault.Terminal || f.Reason == v1alpha1.ReasonProjectNotFound ||
		p.Clock.Since(p.agent.DeletionTimestamp.Time) > p.Settings.OutageGrace)
}
