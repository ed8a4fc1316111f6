/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
)

// maxPlacement bounds what the cache keeps of a DaemonSet's selection of nodes: about a thousand names of nodes. Whoever may write
// DaemonSets may write a megabyte of it, and every pass of an AgentSet evaluates it for every node.
const maxPlacement = 32 << 10

// placement is the annotation of a cached DaemonSet with the encoded selection of nodes; it is missing if that is too large. As Go
// objects an empty term takes twenty times as much.
const placement = "placement"

// TrimWorkload is the transform of the cache: it keeps of a workload what AgentSets read, and leaves other kinds to kubecache.Trim. It may
// get an object that it returned: only that has no selector of pods.
func TrimWorkload(object any) (any, error) {
	switch o := object.(type) {
	case *appsv1.DaemonSet:
		if o.Spec.Selector == nil {
			return o, nil
		}
		pod := placementPod(&o.Spec.Template.Spec)
		trimmed := &appsv1.DaemonSet{ObjectMeta: kubecache.Identity(o.ObjectMeta)}
		if pod.Size() <= maxPlacement {
			encoded, err := pod.Marshal()
			if err != nil {
				return nil, err
			}
			trimmed.Annotations = map[string]string{placement: string(encoded)}
		}
		return trimmed, nil
	case *appsv1.StatefulSet:
		return &appsv1.StatefulSet{
			ObjectMeta: kubecache.Identity(o.ObjectMeta),
			Spec:       appsv1.StatefulSetSpec{Replicas: o.Spec.Replicas, Ordinals: o.Spec.Ordinals},
		}, nil
	}
	return kubecache.Trim(object)
}

// placementPod is the part of a pod that selects nodes. A term without a requirement matches no node.
func placementPod(pod *corev1.PodSpec) *corev1.PodSpec {
	part := &corev1.PodSpec{
		NodeName: pod.NodeName, NodeSelector: pod.NodeSelector, Tolerations: pod.Tolerations, HostNetwork: pod.HostNetwork,
	}
	if pod.Affinity == nil || pod.Affinity.NodeAffinity == nil {
		return part
	}
	required := pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required != nil {
		required = &corev1.NodeSelector{NodeSelectorTerms: slices.DeleteFunc(required.NodeSelectorTerms, func(t corev1.NodeSelectorTerm) bool {
			return len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0
		})}
	}
	part.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: required}}
	return part
}

// placementOf decodes how a cached DaemonSet selects nodes; false if that was too large to be kept.
func placementOf(ds *appsv1.DaemonSet) (agentset.DaemonSet, bool, error) {
	encoded, kept := ds.Annotations[placement]
	if !kept {
		return agentset.DaemonSet{}, false, nil
	}
	var whole appsv1.DaemonSet
	if err := whole.Spec.Template.Spec.Unmarshal([]byte(encoded)); err != nil {
		return agentset.DaemonSet{}, false, err
	}
	return agentset.NewDaemonSet(&whole), true, nil
}
