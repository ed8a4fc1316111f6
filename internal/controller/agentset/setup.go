/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/eventlimit"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agentsets,verbs=list;watch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agentsets/status,verbs=patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=nodes,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=daemonsets;statefulsets,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// targetIndex finds the sets of a workload; its values are "Kind/name".
const targetIndex = "spec.targetRef"

func targetOf(set *v1alpha1.AgentSet) string {
	return string(set.Spec.TargetRef.Kind) + "/" + set.Spec.TargetRef.Name
}

// SetupWithManager registers the controller, its index and its watches.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.AgentSet{}, targetIndex, func(o client.Object) []string {
		return []string{targetOf(o.(*v1alpha1.AgentSet))}
	})
	if err != nil {
		return err
	}
	r.Recorder = eventlimit.New(r.Recorder, mgr.GetScheme(), r.Clock)
	b := ctrl.NewControllerManagedBy(mgr).
		Named("agentset").
		For(&v1alpha1.AgentSet{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: declared}))
	if r.Nodes != nil {
		spec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
		w := watches{r.Client, r.DefaultProject, &r.memories}
		b = b.
			Watches(&v1alpha1.AgentSet{}, w.rivalHandler()).
			Watches(&v1alpha1.Agent{}, w.agentHandler(), builder.WithPredicates(predicate.Funcs{UpdateFunc: matters})).
			WatchesMetadata(&corev1.Secret{}, w.secretHandler()).
			Watches(&appsv1.DaemonSet{}, w.workloadHandler(v1alpha1.TargetDaemonSet), spec).
			Watches(&appsv1.StatefulSet{}, w.workloadHandler(v1alpha1.TargetStatefulSet), spec).
			Watches(&v1alpha1.CloudProject{}, handler.EnqueueRequestsFromMapFunc(w.ofProject), builder.WithPredicates(
				predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
			WatchesRawSource(source.Kind[client.Object](r.Nodes, &corev1.Node{}, w.nodeHandler(), predicate.Funcs{UpdateFunc: movesPods}))
	}
	return b.WithOptions(fairness.WithFairness(options)).Complete(r)
}

const (
	// agentDelay is the least delay after a change of an Agent, so that many changes share a pass. It grows with the
	// duration of the pass, so that a large set takes a part of one processor. Requests take none, and do not count.
	agentDelay = 200 * time.Millisecond
	passes     = 10
	// nodeDelay is the delay after a change of a node, so that many changes share a pass.
	nodeDelay = 50 * time.Millisecond
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// declared selects changes by users, not the operator's own writes of the status. A deletion waits for finalizers, which the status names.
func declared(e event.UpdateEvent) bool {
	was, is := e.ObjectOld, e.ObjectNew
	return was.GetUID() != is.GetUID() || was.GetGeneration() != is.GetGeneration() ||
		!is.GetDeletionTimestamp().IsZero() && !slices.Equal(was.GetFinalizers(), is.GetFinalizers()) ||
		was.GetDeletionTimestamp().IsZero() != is.GetDeletionTimestamp().IsZero() ||
		was.GetAnnotations()[v1alpha1.AnnotationReconcileAt] != is.GetAnnotations()[v1alpha1.AnnotationReconcileAt]
}

// matters selects the changes of an Agent that affect its set's status, corrections or sessions.
func matters(e event.UpdateEvent) bool {
	was, ok := e.ObjectOld.(*v1alpha1.Agent)
	is, also := e.ObjectNew.(*v1alpha1.Agent)
	if !ok || !also || was.UID != is.UID || was.Generation != is.Generation ||
		was.DeletionTimestamp.IsZero() != is.DeletionTimestamp.IsZero() {
		return true
	}
	for _, kind := range []string{v1alpha1.ConditionReady, v1alpha1.ConditionStalled, v1alpha1.ConditionReporting} {
		before, after := apimeta.FindStatusCondition(was.Status.Conditions, kind), apimeta.FindStatusCondition(is.Status.Conditions, kind)
		if (before == nil) != (after == nil) || before != nil && (before.Status != after.Status || before.Reason != after.Reason ||
			before.ObservedGeneration != after.ObservedGeneration) {
			return true
		}
	}
	return was.Status.ID != is.Status.ID || was.Status.MachineID != is.Status.MachineID || was.Status.URL != is.Status.URL ||
		!equality.Semantic.DeepEqual(was.Status.TokenSecretRef, is.Status.TokenSecretRef) ||
		!equality.Semantic.DeepEqual(was.Labels, is.Labels) || !equality.Semantic.DeepEqual(was.Annotations, is.Annotations) ||
		!equality.Semantic.DeepEqual(was.OwnerReferences, is.OwnerReferences)
}

// watches map a watched object to the sets that it affects.
type watches struct {
	client         client.Reader
	defaultProject types.NamespacedName
	memories       *memories
}

// ofProject returns the sets whose template names a CloudProject.
func (w watches) ofProject(ctx context.Context, object client.Object) []reconcile.Request {
	return w.requests(ctx, func(set *v1alpha1.AgentSet) bool {
		key, ok := projectOf(set, w.defaultProject)
		return ok && key == client.ObjectKeyFromObject(object)
	})
}

func (w watches) requests(
	ctx context.Context, which func(*v1alpha1.AgentSet) bool, options ...client.ListOption,
) (requests []reconcile.Request) {
	var sets v1alpha1.AgentSetList
	if err := w.client.List(ctx, &sets, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	for i := range sets.Items {
		if which(&sets.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&sets.Items[i])})
		}
	}
	return requests
}

// handle returns a handler that calls enqueue. It ignores the initial objects: every set is reconciled at the start anyway.
func handle(enqueue func(context.Context, client.Object, queue)) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			if !e.IsInInitialList {
				enqueue(ctx, e.Object, q)
			}
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			enqueue(ctx, e.ObjectOld, q)
			enqueue(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, e.Object, q) },
	}
}

// later enqueues a set with a delay, so that many events share a pass.
func (w watches) later(key types.NamespacedName, q queue) {
	q.AddAfter(reconcile.Request{NamespacedName: key}, max(agentDelay, passes*w.memories.took(key)))
}

// agentHandler enqueues the set that an Agent belongs to, and the sets that need its name.
func (w watches) agentHandler() handler.EventHandler {
	return handle(func(ctx context.Context, object client.Object, q queue) {
		if owner := setOf(object); owner != "" {
			w.later(types.NamespacedName{Namespace: object.GetNamespace(), Name: owner}, q)
			return
		}
		w.inTheWay(ctx, object, q, func(set *v1alpha1.AgentSet) string { return set.Name + "-" })
	})
}

// inTheWay enqueues the sets that may need the name of a foreign object, which may be deleted by now.
func (w watches) inTheWay(ctx context.Context, object client.Object, q queue, prefix func(*v1alpha1.AgentSet) string) {
	for _, request := range w.requests(ctx, func(set *v1alpha1.AgentSet) bool {
		return strings.HasPrefix(object.GetName(), prefix(set))
	}, client.InNamespace(object.GetNamespace())) {
		w.later(request.NamespacedName, q)
	}
}

// setOf returns the name of the set that an object belongs to; empty if none.
func setOf(object client.Object) string {
	if owner := metav1.GetControllerOfNoCopy(object); owner != nil && owner.Kind == "AgentSet" {
		return owner.Name
	}
	return object.GetLabels()[v1alpha1.LabelAgentSet]
}

// secretHandler enqueues the set of a Secret with sessions, or of the Agent that a token Secret belongs to.
func (w watches) secretHandler() handler.EventHandler {
	return handle(func(ctx context.Context, object client.Object, q queue) {
		owner := metav1.GetControllerOfNoCopy(object)
		_, token := tokensecret.Owner(object)
		switch {
		case owner == nil:
			w.inTheWay(ctx, object, q, func(set *v1alpha1.AgentSet) string {
				return strings.TrimSuffix(agentset.SecretName(set.Name, set.Spec.Sessions.SecretName, 0), "0")
			})
		case owner.Kind == "AgentSet":
			w.later(types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}, q)
		case token && owner.Kind == "Agent":
			var agent v1alpha1.Agent
			key := types.NamespacedName{Namespace: object.GetNamespace(), Name: owner.Name}
			if w.client.Get(ctx, key, &agent, client.UnsafeDisableDeepCopy) == nil && setOf(&agent) != "" {
				w.later(types.NamespacedName{Namespace: key.Namespace, Name: setOf(&agent)}, q)
			}
		}
	})
}

func (w watches) workloadHandler(kind v1alpha1.TargetKind) handler.EventHandler {
	return handle(func(ctx context.Context, object client.Object, q queue) {
		for _, request := range w.requests(ctx, func(*v1alpha1.AgentSet) bool { return true },
			client.InNamespace(object.GetNamespace()), client.MatchingFields{targetIndex: string(kind) + "/" + object.GetName()}) {
			q.AddAfter(request, nodeDelay)
		}
	})
}

func (w watches) nodeHandler() handler.EventHandler {
	return handle(func(ctx context.Context, _ client.Object, q queue) {
		for _, request := range w.requests(ctx, func(set *v1alpha1.AgentSet) bool {
			return set.Spec.TargetRef.Kind == v1alpha1.TargetDaemonSet
		}) {
			q.AddAfter(request, max(nodeDelay, w.memories.took(request.NamespacedName)))
		}
	})
}
