/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// tidy removes Secrets of the Agent that nothing refers to any more. The status tells the name before a
// change only if it was written: a process that ended in between, or a name that was changed back meanwhile,
// leaves a Secret with a token behind that only its owner tells.
func (p *pass) tidy(ctx context.Context) error {
	keep := sets.New(tokensecret.Name(p.agent))
	if session, wanted := tokensecret.SessionName(p.agent); wanted {
		keep.Insert(session)
	}
	kept, err := p.ownedBy(ctx, p.key(), p.agent.UID)
	if err != nil {
		return err
	}
	for name := range kept.Difference(keep) {
		if err := p.secrets.Remove(ctx, p.agent, name); err != nil {
			return err
		}
		// It may be a former Agent's of the name: while the name lives, nothing else looks for it.
		if _, err := p.secrets.Sweep(ctx, p.agent, name); err != nil {
			return err
		}
	}
	return nil
}

// ownedBy are the names of the Secrets that an Agent of this name owns, whether it lives or not, and of those that have
// its UID in their label and no owner.
func (r *Reconciler) ownedBy(ctx context.Context, key types.NamespacedName, uid types.UID) (sets.Set[string], error) {
	names := sets.New[string]()
	for _, value := range []string{key.Name, string(uid)} {
		if value == "" {
			continue
		}
		list := metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
		err := r.Client.List(ctx, &list, client.InNamespace(key.Namespace), client.MatchingFields{ownerIndex: bucket(value)},
			client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, err
		}
		for i := range list.Items {
			secret := &list.Items[i]
			of, kept := tokensecret.Owner(secret)
			if slices.Contains(owners(secret), key.Name) || kept && of == uid && len(secret.OwnerReferences) == 0 {
				names.Insert(secret.Name)
			}
		}
	}
	return names, nil
}

// sweep deletes the Secrets of Agents of this name that are no more, some time after they went. The garbage
// collector does that at once, as a rule; one that was cut off from the API server can miss the end of an Agent.
func (r *Reconciler) sweep(ctx context.Context, key types.NamespacedName) (ctrl.Result, error) {
	names, err := r.ownedBy(ctx, key, "")
	if err != nil {
		return ctrl.Result{}, err
	}
	if names.Len() == 0 {
		r.memories.left(key)
		return ctrl.Result{}, nil
	}
	if wait := r.memories.missed(key, r.Clock.Now().Add(r.Settings.SweepDelay)).Sub(r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait, Priority: &lowPriority}, nil
	}
	former := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	for name := range names {
		swept, err := r.secrets.Sweep(ctx, former, name)
		if err != nil {
			return ctrl.Result{}, err
		}
		if swept {
			logger(ctx).Info("Removed a Secret that the garbage collector left", "secret", name)
		}
	}
	r.memories.left(key)
	return ctrl.Result{}, nil
}
