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
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// tidy removes Secrets of the Agent that nothing refers to any more. The status tells the name before a
// change only if it was written: a process that ended in between, or a name that was changed back meanwhile,
// leaves a Secret with a token behind that only its label tells.
func (p *pass) tidy(ctx context.Context) error {
	keep := sets.New(tokensecret.Name(p.agent))
	if session, wanted := tokensecret.SessionName(p.agent); wanted {
		keep.Insert(session)
	}
	left, err := p.labelled(ctx)
	if err != nil {
		return err
	}
	for name := range left.Difference(keep) {
		if err := p.secrets.Remove(ctx, p.agent, name); err != nil {
			return err
		}
	}
	return nil
}

// removeSecrets removes the Secrets of an Agent that goes. The garbage collector would do that too, but some
// time later, and not if it missed the end of the Agent: a new Agent of the same name would meet Secrets that
// are not its own. Where it was told to leave what an Agent owns, or the API server refuses, it is left to it.
func (p *pass) removeSecrets(ctx context.Context) error {
	if slices.Contains(p.agent.Finalizers, metav1.FinalizerOrphanDependents) {
		return nil
	}
	names, err := p.labelled(ctx)
	if err != nil {
		return err
	}
	// What was written a moment ago may not be in the cache yet.
	names.Insert(tokensecret.Name(p.agent))
	if session, wanted := tokensecret.SessionName(p.agent); wanted {
		names.Insert(session)
	}
	for name := range names {
		err := p.secrets.Remove(ctx, p.agent, name)
		if f := classify(err); f.Error != nil && f.Class != fault.Terminal {
			return err
		}
	}
	return nil
}

// labelled are the names of the Secrets that are kept for the Agent, as the cache knows them.
func (p *pass) labelled(ctx context.Context) (sets.Set[string], error) {
	list := metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := p.Client.List(ctx, &list, client.InNamespace(p.agent.Namespace),
		client.MatchingFields{keptIndex: string(p.agent.UID)}, client.UnsafeDisableDeepCopy)
	names := sets.New[string]()
	for i := range list.Items {
		names.Insert(list.Items[i].Name)
	}
	return names, err
}
