/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/eventlimit"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
)

// usesIndex finds the Agents of a namespace that name a Secret or ConfigMap; its values are "Kind/name". Secrets
// with the usual names are not in it: each entry takes memory, and those names contain the Agent's.
const usesIndex = "uses"

// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=agents/status,verbs=patch
// +kubebuilder:rbac:groups=cloud.calyptia.com,resources=cloudprojects,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager registers the controller, its indexes and its watches. The index projectref.AgentIndex has
// to be there already.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	if err := r.Start(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	if r.Recorder != nil {
		r.Recorder = eventlimit.New(r.Recorder, mgr.GetScheme(), r.Clock)
	}
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.Agent{}, usesIndex, func(o client.Object) []string {
		return uses(o.(*v1alpha1.Agent))
	})
	if err != nil {
		return err
	}
	// Filled before the operator is ready, and in a replica that does not lead yet, as the others are by their indexes.
	configMaps := &metav1.PartialObjectMetadata{}
	configMaps.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	if _, err := mgr.GetCache().GetInformer(ctx, configMaps, cache.BlockUntilSynced(false)); err != nil {
		return err
	}
	w := watches{r}
	wake := &waker{agents: w.ofProject}
	r.Projects.OnWake(func(key client.ObjectKey) { wake.enqueue(key, w.waking) })
	news := builder.WithPredicates(kubecache.News(v1alpha1.LabelAgentUID))
	return ctrl.NewControllerManagedBy(mgr).
		Named("agent").
		For(&v1alpha1.Agent{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: concerns})).
		WatchesMetadata(&corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(w.users("Secret")), news).
		WatchesMetadata(&corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(w.users("ConfigMap")), news).
		Watches(&v1alpha1.CloudProject{}, wake.handler(),
			builder.WithPredicates(predicate.Or[client.Object](predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))).
		WatchesRawSource(wake).
		WithOptions(fairness.WithFairness(options)).
		Complete(r)
}
