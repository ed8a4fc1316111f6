/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"slices"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// rivalDelay is the delay until the sets that stay without their target name the one that has it now. Many changes share a pass: each
// reads all sets of the target, and a namespace may have thousands.
const rivalDelay = 10 * time.Second

// rivalHandler enqueues the other sets of a target when another set has it from now on.
func (w watches) rivalHandler() handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList { // Every set is reconciled at the start anyway.
				w.targets(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			was, is := e.ObjectOld.(*v1alpha1.AgentSet), e.ObjectNew.(*v1alpha1.AgentSet)
			if was.UID != is.UID || targetOf(was) != targetOf(is) {
				w.targets(ctx, was, q)
				w.targets(ctx, is, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { w.targets(ctx, e.Object, q) },
	}
}

// targets enqueues the others after a set came to its target or left it, if it wins the target, or won it.
func (w watches) targets(ctx context.Context, object client.Object, q queue) {
	set, others := object.(*v1alpha1.AgentSet), w.claims(ctx, object.(*v1alpha1.AgentSet))
	next := agentset.Winner(others)
	if agentset.Winner(append(slices.Clone(others), claimOf(set))) != set.Name {
		return
	}
	for _, other := range others {
		request := reconcile.Request{NamespacedName: client.ObjectKey{Namespace: set.Namespace, Name: other.Name}}
		if other.Name == next {
			q.Add(request)
		} else {
			q.AddAfter(request, rivalDelay)
		}
	}
}

// claims are those of the other sets on the target of a set.
func (w watches) claims(ctx context.Context, set *v1alpha1.AgentSet) (claims []agentset.Claim) {
	var sets v1alpha1.AgentSetList
	err := w.client.List(ctx, &sets, client.InNamespace(set.Namespace), client.MatchingFields{targetIndex: targetOf(set)},
		client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil
	}
	for i := range sets.Items {
		if sets.Items[i].Name != set.Name {
			claims = append(claims, claimOf(&sets.Items[i]))
		}
	}
	return claims
}

func claimOf(set *v1alpha1.AgentSet) agentset.Claim {
	return agentset.Claim{Name: set.Name, Created: set.CreationTimestamp.Time}
}
