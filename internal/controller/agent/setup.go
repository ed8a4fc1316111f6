/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"maps"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/project"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// usesIndex finds the Agents of a namespace that use a Secret or ConfigMap; its values are "Kind/name".
const usesIndex = "uses"

// keptIndex finds the Secrets that are kept for an Agent, by its UID: among very many a label selector would
// look at each of them.
const keptIndex = "kept-for"

// ownerIndex finds the Secrets that are owned by an Agent of a name, whether it lives or not.
const ownerIndex = "owner"

// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents/status,verbs=patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller, its indexes and its watches. The index project.AgentIndex has
// to be there already.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	r.Settings = r.Settings.withDefaults()
	r.secrets = tokensecret.Keeper{Reader: r.APIReader, Writer: r.Client}
	r.started = r.Clock.Now()
	for name, values := range indexes {
		if err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, name, func(o client.Object) []string {
			return values(o.(*v1alpha1.Agent))
		}); err != nil {
			return err
		}
	}
	secrets := &metav1.PartialObjectMetadata{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	for name, values := range map[string]client.IndexerFunc{keptIndex: keptFor, ownerIndex: owners} {
		if err := mgr.GetFieldIndexer().IndexField(ctx, secrets, name, values); err != nil {
			return err
		}
	}
	wake := &waker{agents: r.ofProject}
	r.Projects.OnWake(wake.wake)
	return ctrl.NewControllerManagedBy(mgr).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: concerns})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(r.users("Secret"))).
		WatchesMetadata(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(r.users("ConfigMap"))).
		Watches(&v1alpha1.CloudProject{}, handler.EnqueueRequestsFromMapFunc(r.ofCloudProject),
			builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		WatchesRawSource(wake).
		WithOptions(options).
		Complete(r)
}

// indexes of the cached Agents.
var indexes = map[string]func(*v1alpha1.Agent) []string{
	remoteIndex:  func(a *v1alpha1.Agent) []string { return unlessEmpty(a.Status.ID) },
	machineIndex: func(a *v1alpha1.Agent) []string { return unlessEmpty(a.Status.MachineID) },
	usesIndex:    uses,
}

// keptFor is the Agent that a Secret is kept for, by its label.
func keptFor(secret client.Object) []string {
	return unlessEmpty(secret.GetLabels()[v1alpha1.LabelAgentUID])
}

// owners are the names of the Agents that a Secret is kept for and owned by.
func owners(secret client.Object) (names []string) {
	if keptFor(secret) == nil {
		return nil
	}
	for _, owner := range secret.GetOwnerReferences() {
		if owner.Kind == "Agent" && owner.APIVersion == v1alpha1.GroupVersion.String() {
			names = append(names, owner.Name)
		}
	}
	return names
}

func unlessEmpty(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func uses(a *v1alpha1.Agent) []string {
	var used []string
	for _, name := range tokensecret.Names(a) {
		used = append(used, "Secret/"+name)
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

// concerns leaves out what the operator itself writes: the status, the finalizer and the nonce.
func concerns(e event.UpdateEvent) bool {
	before, after := maps.Clone(e.ObjectOld.GetAnnotations()), maps.Clone(e.ObjectNew.GetAnnotations())
	delete(before, v1alpha1.AnnotationRegistering)
	delete(after, v1alpha1.AnnotationRegistering)
	return e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
		e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
		e.ObjectOld.GetDeletionTimestamp().IsZero() != e.ObjectNew.GetDeletionTimestamp().IsZero() ||
		!maps.Equal(before, after)
}

// users finds the Agents that use an object of the kind.
func (r *Reconciler) users(kind string) handler.MapFunc {
	return func(ctx context.Context, object client.Object) []reconcile.Request {
		requests := r.matching(ctx, client.InNamespace(object.GetNamespace()),
			client.MatchingFields{usesIndex: kind + "/" + object.GetName()})
		for _, name := range owners(object) { // Also one that is gone, for its Secrets to be swept.
			requests = append(requests, reconcile.Request{
				NamespacedName: types.NamespacedName{Namespace: object.GetNamespace(), Name: name},
			})
		}
		return requests
	}
}

func (r *Reconciler) ofCloudProject(ctx context.Context, object client.Object) []reconcile.Request {
	return r.ofProject(ctx, client.ObjectKeyFromObject(object))
}

// ofProject are the Agents of a CloudProject.
func (r *Reconciler) ofProject(ctx context.Context, key client.ObjectKey) []reconcile.Request {
	return r.matching(ctx, client.MatchingFields{project.AgentIndex: key.String()})
}

func (r *Reconciler) matching(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	var agents v1alpha1.AgentList
	if err := r.Client.List(ctx, &agents, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		logger(ctx).Error(err, "Agents cannot be listed from the cache")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(agents.Items))
	for i := range agents.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&agents.Items[i])})
	}
	return requests
}

// waker enqueues the Agents of a CloudProject when they may go on.
type waker struct {
	agents func(context.Context, client.ObjectKey) []reconcile.Request

	mu    sync.Mutex
	ctx   context.Context // of the running controller
	queue workqueue.TypedRateLimitingInterface[reconcile.Request]
}

// Start takes the queue of the controller.
func (w *waker) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ctx, w.queue = ctx, queue
	return nil
}

// wake is called by the registry. Before the controller runs there is nobody to be woken: it begins with
// all Agents anyway.
func (w *waker) wake(key client.ObjectKey) {
	w.mu.Lock()
	ctx, queue := w.ctx, w.queue
	w.mu.Unlock()
	if queue == nil {
		return
	}
	requests := w.agents(ctx, key)
	if prioritized, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: &lowPriority}, requests...)
		return
	}
	for _, request := range requests {
		queue.Add(request)
	}
}

var _ source.Source = &waker{}
