/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/eventlimit"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// sourceIndex is the field by which the cache finds the CloudProjects that refer to a Secret or ConfigMap;
// its values are "Kind/name".
const sourceIndex = "spec.sources"

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// SetupWithManager registers the controller. The manager's cache must have projectref.AgentIndex.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.CloudProject{}, sourceIndex, sources); err != nil {
		return err
	}
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	r.Delays, r.memos.dropped = r.Delays.withDefaults(), r.Projects.Forget
	r.Projects.OnNeedsVerification(r.needsVerification)
	r.Recorder = eventlimit.New(r.Recorder, mgr.GetScheme(), r.Clock)
	w := watches{r.Client, r.DefaultProject, r.Delays}
	changed := builder.WithPredicates(predicate.ResourceVersionChangedPredicate{}, kubecache.News(v1alpha1.LabelCloudProjectUID))
	return ctrl.NewControllerManagedBy(mgr).
		Named("cloudproject").
		For(&v1alpha1.CloudProject{}, builder.WithPredicates(declared())).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(w.referring("Secret")), changed).
		WatchesMetadata(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(w.referring("ConfigMap")), changed).
		Watches(&v1alpha1.Agent{}, w.agentHandler(), builder.WithPredicates(w.agentChanges())).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			r.queue.Store(&q)
			return nil
		})).
		WithOptions(fairness.WithFairness(options)).
		Complete(r)
}

// needsVerification records that a response concerns the credentials, and enqueues the CloudProject. It is called while
// other requests are in progress, and never blocks.
func (r *Reconciler) needsVerification(key client.ObjectKey) {
	r.memos.needCheck(key)
	if queue := r.queue.Load(); queue != nil {
		(*queue).Add(ctrl.Request{NamespacedName: key})
	}
}

// declared selects changes by users, not the operator's own writes of the status.
func declared() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld, e.ObjectNew
		return was.GetUID() != is.GetUID() || was.GetGeneration() != is.GetGeneration() ||
			was.GetDeletionTimestamp().IsZero() != is.GetDeletionTimestamp().IsZero() ||
			controllerutil.ContainsFinalizer(was, v1alpha1.CloudProjectFinalizer) &&
				!controllerutil.ContainsFinalizer(is, v1alpha1.CloudProjectFinalizer) ||
			!equality.Semantic.DeepEqual(was.GetLabels(), is.GetLabels()) ||
			!equality.Semantic.DeepEqual(was.GetAnnotations(), is.GetAnnotations())
	}}
}

// sources fills sourceIndex.
func sources(obj client.Object) []string {
	cp, ok := obj.(*v1alpha1.CloudProject)
	if !ok {
		return nil
	}
	refs := []string{"Secret/" + cp.Spec.TokenSecretRef.Name, "Secret/" + copyName(cp)}
	if ca := cp.Spec.CABundle; ca != nil && ca.SecretKeyRef != nil {
		refs = append(refs, "Secret/"+ca.SecretKeyRef.Name)
	} else if ca != nil && ca.ConfigMapKeyRef != nil {
		refs = append(refs, "ConfigMap/"+ca.ConfigMapKeyRef.Name)
	}
	return refs
}

// watches map a watched object to the CloudProjects that it affects.
type watches struct {
	client         client.Reader
	defaultProject types.NamespacedName
	delays         Delays
}

// referring maps a Secret or ConfigMap to the CloudProjects that refer to it, and a copy of credentials to its
// CloudProject, even a deleted one.
func (w watches) referring(kind string) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []ctrl.Request {
		var list v1alpha1.CloudProjectList
		err := w.client.List(ctx, &list, client.InNamespace(obj.GetNamespace()),
			client.MatchingFields{sourceIndex: kind + "/" + obj.GetName()}, client.UnsafeDisableDeepCopy)
		if err != nil { // Only a cache without the index fails, and that is set up above.
			return nil
		}
		var requests []ctrl.Request
		for i := range list.Items {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
		if _, marked := obj.GetLabels()[v1alpha1.LabelCloudProjectUID]; marked && len(requests) == 0 {
			if name, ok := strings.CutSuffix(obj.GetName(), copySuffix); ok {
				key := types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}
				requests = append(requests, ctrl.Request{NamespacedName: key})
			}
		}
		return requests
	}
}

// agentChanges selects the changes that start or end the use of a CloudProject by an Agent, not the many writes of its
// status. The first reconciliation counts the initial Agents.
func (w watches) agentChanges() predicate.Predicate {
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return !e.IsInInitialList },
		UpdateFunc: func(e event.UpdateEvent) bool {
			was, ok := e.ObjectOld.(*v1alpha1.Agent)
			is, ok2 := e.ObjectNew.(*v1alpha1.Agent)
			if !ok || !ok2 {
				return false
			}
			before, _ := projectref.Ref(was, w.defaultProject)
			after, _ := projectref.Ref(is, w.defaultProject)
			return before != after || holds(was) != holds(is)
		},
	}
}

// agentHandler enqueues the CloudProjects of Agents, once for all changes within some time. One that does not exist is not enqueued:
// anybody may name it, as often as they like, and its turn would be that of its namespace. Once created, it counts its Agents.
func (w watches) agentHandler() handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, objects ...client.Object) {
		for _, obj := range objects {
			agent, ok := obj.(*v1alpha1.Agent)
			if !ok {
				continue
			}
			key, ok := projectref.Ref(agent, w.defaultProject)
			if !ok {
				continue
			}
			var cp v1alpha1.CloudProject
			if err := w.client.Get(ctx, key, &cp, client.UnsafeDisableDeepCopy); !apierrors.IsNotFound(err) {
				q.AddAfter(ctrl.Request{NamespacedName: key}, w.patience(&cp, agent))
			}
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, q, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
	}
}

// patience is short for a CloudProject whose deletion may wait for this Agent; else only the number of Agents changes. The
// cache may not show yet that the CloudProject is being deleted, too.
func (w watches) patience(cp *v1alpha1.CloudProject, agent *v1alpha1.Agent) time.Duration {
	if !agent.DeletionTimestamp.IsZero() || !cp.DeletionTimestamp.IsZero() {
		return w.delays.InUseDelay
	}
	return w.delays.AgentCountInterval
}
