/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fairness"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
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

// TrimWorkload is the cache transform that drops what AgentSets do not read of workloads and nodes.
func TrimWorkload(object any) (any, error) {
	switch o := object.(type) {
	case *corev1.Node:
		o.Spec = corev1.NodeSpec{Taints: o.Spec.Taints, Unschedulable: o.Spec.Unschedulable}
		o.Status, o.Annotations = corev1.NodeStatus{}, nil
	case *appsv1.DaemonSet:
		pod := o.Spec.Template.Spec
		o.Spec = appsv1.DaemonSetSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			NodeName: pod.NodeName, NodeSelector: pod.NodeSelector, Affinity: pod.Affinity, Tolerations: pod.Tolerations,
			HostNetwork: pod.HostNetwork,
		}}}
		o.Status, o.Annotations, o.Labels = appsv1.DaemonSetStatus{}, nil, nil
	case *appsv1.StatefulSet:
		o.Spec = appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, Ordinals: o.Spec.Ordinals}
		o.Status, o.Annotations, o.Labels = appsv1.StatefulSetStatus{}, nil, nil
	}
	return kubecache.Trim(object)
}

// NewNodes returns a separate cache for nodes: the main cache may be restricted to some namespaces.
func NewNodes(config *rest.Config, scheme *runtime.Scheme) (cluster.Cluster, error) {
	return cluster.New(config, func(o *cluster.Options) {
		o.Scheme, o.Cache.DefaultTransform = scheme, TrimWorkload
	})
}

// SetupWithManager registers the controller, its index and its watches.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager, options controller.Options) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.AgentSet{}, targetIndex, func(o client.Object) []string {
		return []string{targetOf(o.(*v1alpha1.AgentSet))}
	})
	if err != nil {
		return err
	}
	b := ctrl.NewControllerManagedBy(mgr).
		Named("agentset").
		For(&v1alpha1.AgentSet{}, builder.WithPredicates(predicate.Funcs{UpdateFunc: declared}))
	if r.Nodes != nil {
		spec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
		w := watches{r.Client, r.DefaultProject, &r.memories}
		b = b.
			Watches(&v1alpha1.AgentSet{}, handler.EnqueueRequestsFromMapFunc(w.rivals)).
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
