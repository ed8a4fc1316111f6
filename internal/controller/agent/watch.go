/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	ctrlevent "sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// owners are the names of the Agents that a Secret is kept for and owned by.
func owners(secret client.Object) (names []string) {
	if _, kept := tokensecret.Owner(secret); !kept {
		return nil
	}
	for _, owner := range secret.GetOwnerReferences() {
		if len(names) < tokensecret.MostOwners && owner.Kind == "Agent" && owner.APIVersion == v1alpha1.GroupVersion.String() {
			names = append(names, owner.Name)
		}
	}
	return names
}

func uses(a *v1alpha1.Agent) []string {
	var used []string
	for _, name := range tokensecret.Names(a) {
		if !slices.Contains(usualUsers(name), a.Name) {
			used = append(used, "Secret/"+name)
		}
	}
	if from := a.Spec.RawConfigFrom; from != nil {
		if from.SecretKeyRef != nil {
			used = append(used, "Secret/"+from.SecretKeyRef.Name)
		}
		if from.ConfigMapKeyRef != nil {
			used = append(used, "ConfigMap/"+from.ConfigMapKeyRef.Name)
		}
	}
	return used
}

// usualUsers are the names of the Agents that use a Secret of this name without naming it.
func usualUsers(secret string) (names []string) {
	for _, suffix := range []string{tokensecret.TokenSuffix, tokensecret.SessionSuffix} {
		if name, usual := strings.CutSuffix(secret, suffix); usual {
			names = append(names, name)
		}
	}
	return names
}

// concerns ignores what the operator itself writes: the status, the finalizer and the registration intent. While the Agent
// is not being deleted, only somebody else removes the finalizer; without it a deletion would leak the remote agent.
func concerns(e ctrlevent.UpdateEvent) bool {
	before, after := maps.Clone(e.ObjectOld.GetAnnotations()), maps.Clone(e.ObjectNew.GetAnnotations())
	delete(before, v1alpha1.AnnotationRegistrationIntent)
	delete(after, v1alpha1.AnnotationRegistrationIntent)
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		remoteagent.Fenced(e.ObjectOld) && !remoteagent.Fenced(e.ObjectNew) && e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		!maps.Equal(before, after)
}

// watches map a watched object to the Agents that it affects.
type watches struct{ *Reconciler }

// unknown reports whether this process has not reconciled an Agent yet.
func (w watches) unknown(key types.NamespacedName) bool {
	k, _ := w.caches.last(key)
	return k == nil
}

// users finds the Agents that use an object of the kind.
func (w watches) users(kind string) handler.MapFunc {
	return func(ctx context.Context, object client.Object) (requests []reconcile.Request) {
		namespace := object.GetNamespace()
		names := owners(object)
		for _, agent := range w.cached(ctx, client.InNamespace(namespace), client.MatchingFields{usesIndex: kind + "/" + object.GetName()}) {
			names = append(names, agent.Name)
		}
		for _, name := range usualUsers(object.GetName()) {
			if kind != "Secret" || slices.Contains(names, name) {
				continue
			}
			var agent v1alpha1.Agent
			err := w.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &agent, client.UnsafeDisableDeepCopy)
			if err == nil && slices.Contains(tokensecret.Names(&agent), object.GetName()) {
				names = append(names, name)
			}
		}
		for _, name := range names {
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
		}
		return requests
	}
}

// ofProject are the Agents of a CloudProject.
func (w watches) ofProject(ctx context.Context, key client.ObjectKey) []v1alpha1.Agent {
	return w.cached(ctx, client.MatchingFields{projectref.AgentIndex: key.String()})
}

// waking are the Agents of a CloudProject that may wait for it. Left out are registered ones that this process has not
// reconciled: they are still in the queue. On a start that is nearly all of them.
func (w watches) waking(ctx context.Context, key client.ObjectKey) []v1alpha1.Agent {
	return slices.DeleteFunc(w.ofProject(ctx, key), func(a v1alpha1.Agent) bool {
		return a.Status.ID != "" && w.unknown(types.NamespacedName{Namespace: a.Namespace, Name: a.Name})
	})
}

// cached are Agents as the cache has them, not to be changed.
func (w watches) cached(ctx context.Context, options ...client.ListOption) []v1alpha1.Agent {
	var agents v1alpha1.AgentList
	if err := w.Client.List(ctx, &agents, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		remoteagent.Logger(ctx).Error(err, "Agents cannot be listed from the cache")
		return nil
	}
	return agents.Items
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// waker enqueues the Agents of a CloudProject when they no longer have to wait.
type waker struct {
	agents func(context.Context, client.ObjectKey) []v1alpha1.Agent

	mu    sync.Mutex
	ctx   context.Context // of the running controller
	queue queue
}

// Start takes the queue of the controller.
func (w *waker) Start(ctx context.Context, queue queue) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx, w.queue = ctx, queue
	return nil
}

// handler wakes the Agents of a CloudProject that changed.
func (w *waker) handler() handler.EventHandler {
	wake := func(object client.Object) { w.enqueue(client.ObjectKeyFromObject(object), w.agents) }
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e ctrlevent.CreateEvent, _ queue) {
			if !e.IsInInitialList { // Its Agents are, too.
				wake(e.Object)
			}
		},
		UpdateFunc: func(_ context.Context, e ctrlevent.UpdateEvent, _ queue) { wake(e.ObjectNew) },
		DeleteFunc: func(_ context.Context, e ctrlevent.DeleteEvent, _ queue) { wake(e.Object) },
	}
}

// enqueue is also called by the registry. Before the controller runs it does nothing: the start enqueues all Agents.
// Agents that are not registered yet come before the others, and after those that users change now.
func (w *waker) enqueue(key client.ObjectKey, agents func(context.Context, client.ObjectKey) []v1alpha1.Agent) {
	w.mu.Lock()
	ctx, queue := w.ctx, w.queue
	w.mu.Unlock()
	if queue == nil {
		return
	}
	var waiting, registered []reconcile.Request
	all := agents(ctx, key)
	for i := range all {
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&all[i])}
		if all[i].Status.ID == "" {
			waiting = append(waiting, request)
		} else {
			registered = append(registered, request)
		}
	}
	if prioritized, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: new(lowPriority / 2)}, waiting...)
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: &lowPriority}, registered...)
		return
	}
	for _, request := range append(waiting, registered...) {
		queue.Add(request)
	}
}

var _ source.Source = &waker{}
