/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"maps"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
)

// observer reads what a set depends on, from the caches.
type observer struct {
	client client.Reader
	nodes  cache.Informers
	set    *v1alpha1.AgentSet
	memory *memory
}

// ownsTarget fails if the target belongs to an older set.
func (o observer) ownsTarget(ctx context.Context) error {
	var sets v1alpha1.AgentSetList
	err := o.client.List(ctx, &sets, client.InNamespace(o.set.Namespace),
		client.MatchingFields{targetIndex: targetOf(o.set)}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return err
	}
	var claims []agentset.Claim
	for i := range sets.Items {
		claims = append(claims, claimOf(&sets.Items[i]))
	}
	winner := agentset.Winner(claims)
	if winner == o.set.Name || winner == "" {
		return nil
	}
	target := o.set.Spec.TargetRef
	return fault.Terminalf(v1alpha1.ReasonTargetConflict,
		"%s %q belongs to the older AgentSet %q: delete one of the two, or change spec.targetRef", target.Kind, target.Name, winner)
}

// keys reads the nodes or replicas of the target's pods, if the target is the set's. Without a target there are none, and missing says so.
func (o observer) keys(ctx context.Context) (keys []agentset.Key, missing *fault.Error, err error) {
	if err := o.ownsTarget(ctx); err != nil {
		return nil, nil, err
	}
	target := o.set.Spec.TargetRef
	key := client.ObjectKey{Namespace: o.set.Namespace, Name: target.Name}
	if target.Kind == v1alpha1.TargetStatefulSet {
		keys, err = o.ofReplicas(ctx, key)
	} else {
		keys, err = o.ofNodes(ctx, key)
	}
	if apierrors.IsNotFound(err) {
		return nil, fault.Waitingf(v1alpha1.ReasonTargetNotFound, "%s %q does not exist: create it, or correct spec.targetRef",
			target.Kind, target.Name), nil
	}
	return keys, nil, err
}

func (o observer) ofReplicas(ctx context.Context, key client.ObjectKey) (keys []agentset.Key, err error) {
	var target appsv1.StatefulSet
	if err := o.client.Get(ctx, key, &target, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	pods, ok := agentset.Replicas(&target)
	if !ok {
		return nil, fault.Terminalf(v1alpha1.ReasonTooManyReplicas, "StatefulSet %q has more than %d replicas: reduce them, or split it",
			key.Name, agentset.MaxReplicas)
	}
	for _, pod := range pods {
		keys = append(keys, agentset.Key{Name: pod, Fit: agentset.Runs})
	}
	return keys, nil
}

func (o observer) ofNodes(ctx context.Context, key client.ObjectKey) (keys []agentset.Key, err error) {
	var target appsv1.DaemonSet
	if err := o.client.Get(ctx, key, &target, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	placement, ok, err := placementOf(&target)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fault.Terminalf(v1alpha1.ReasonTargetTooLarge,
			"nodeSelector, node affinity and tolerations of DaemonSet %q have more than %d KiB: shorten them, or split it",
			key.Name, maxPlacement>>10)
	}
	return fitting(ctx, o.nodes, placement)
}

// agents returns the Agents that belong to the set, or have names that it needs, as the cache has them: not to be changed.
func (o observer) agents(ctx context.Context, facts *agentset.Facts) (map[string]*v1alpha1.Agent, error) {
	keys := map[string]string{} // by the name of the Agent
	for _, key := range facts.Keys {
		keys[agentset.AgentName(o.set.Name, key.Name)] = key.Name
	}
	var list v1alpha1.AgentList
	if err := o.client.List(ctx, &list, client.InNamespace(o.set.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	agents := map[string]*v1alpha1.Agent{}
	facts.Agents, facts.Altered = map[string]agentset.Agent{}, map[string]string{}
	for i := range list.Items {
		agent := &list.Items[i]
		key, needed := keys[agent.Name]
		ownership := agentset.OwnershipOf(o.set, agent)
		if !needed && ownership != agentset.Own {
			continue
		}
		agents[agent.Name] = agent
		facts.Agents[agent.Name] = o.describe(agent, ownership, key, facts.Now)
		if needed && o.memory.justUpdated(agent, o.set.Generation, facts.Now) {
			built, _ := agentset.Build(o.set, key, agent)
			facts.Altered[agent.Name] = agentset.Difference(agent, built)
		}
	}
	maps.DeleteFunc(o.memory.updates, func(name string, _ pendingWrite) bool {
		known, exists := facts.Agents[name]
		return !exists || known.UpToDate && !known.Marked && !known.Pending
	})
	for name := range o.memory.unseen(agents, facts.Now) {
		facts.Agents[name] = agentset.Agent{Ownership: agentset.Own, Pending: true}
	}
	return agents, nil
}

// describe returns the facts about an Agent. key is empty for one that is not needed.
func (o observer) describe(agent *v1alpha1.Agent, ownership agentset.Ownership, key string, now time.Time) agentset.Agent {
	known := agentset.Agent{
		Ownership: ownership, Pending: o.memory.pending(agent, now),
		Deleting: !agent.DeletionTimestamp.IsZero() || o.memory.deleted(agent, now),
		Abridged: kubecache.Abridged(agent),
	}
	known.RemovalStarted, known.Marked = agentset.RemovalStarted(agent)
	if key != "" {
		built, immutable := agentset.Build(o.set, key, agent)
		known.Immutable = immutable
		known.UpToDate = agentset.Same(agent, built) || known.Marked && sameButMark(agent, built)
	}
	for _, c := range agent.Status.Conditions {
		current := c.ObservedGeneration == agent.Generation
		switch c.Type {
		case v1alpha1.ConditionReady:
			known.Ready = current && c.Status == metav1.ConditionTrue
			known.Why = c.Reason
		case v1alpha1.ConditionStalled:
			known.Stalled = current && c.Status == metav1.ConditionTrue
		case v1alpha1.ConditionReporting:
			known.Reporting = c.Status == metav1.ConditionTrue
		}
	}
	return known
}

// sameButMark reports whether only the mark of a removal keeps an Agent from what the template says.
func sameButMark(agent, built *v1alpha1.Agent) bool {
	marked := *built
	marked.Annotations = map[string]string{v1alpha1.AnnotationRemovalStarted: agent.Annotations[v1alpha1.AnnotationRemovalStarted]}
	maps.Copy(marked.Annotations, built.Annotations)
	return agentset.Same(agent, &marked)
}

// slots are the set's own Agents by slot.
func slots(facts agentset.Facts, agents map[string]*v1alpha1.Agent) map[string]*v1alpha1.Agent {
	own := map[string]*v1alpha1.Agent{}
	for name, known := range facts.Agents {
		if slot, ok := agentset.SlotOf(facts.Set, name); ok && known.Ownership == agentset.Own && agents[name] != nil {
			own[slot] = agents[name]
		}
	}
	return own
}
