/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// MaxReplicas is how many Agents an AgentSet has at most. Whoever may write a StatefulSet chooses its replicas.
const MaxReplicas = 50_000

// Fit says whether a DaemonSet runs a pod on a node.
type Fit int

const (
	// No: it runs none, and a pod that is there is deleted.
	No Fit = iota
	// Stays: it starts none, and a pod that is there stays.
	Stays
	// Runs: it runs one.
	Runs
)

// DaemonSet decides on which nodes a DaemonSet runs a pod, as its controller does.
type DaemonSet struct {
	nodeName    string
	tolerations []corev1.Toleration
	affinity    nodeaffinity.RequiredNodeAffinity
}

// NewDaemonSet reads what a DaemonSet requires of nodes.
func NewDaemonSet(ds *appsv1.DaemonSet) DaemonSet {
	pod := &ds.Spec.Template.Spec
	return DaemonSet{
		nodeName: pod.NodeName, tolerations: tolerations(pod),
		affinity: nodeaffinity.NewRequiredNodeAffinity(pod.NodeSelector, pod.Affinity),
	}
}

// Fits decides for one node.
func (d DaemonSet) Fits(node *corev1.Node) Fit {
	if d.nodeName != "" && d.nodeName != node.Name {
		return No
	}
	// The DaemonSet controller ignores errors of parsing, too.
	if fits, _ := d.affinity.Match(node); !fits {
		return No
	}
	switch {
	case !d.untolerated(node, corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule):
		return Runs
	case !d.untolerated(node, corev1.TaintEffectNoExecute):
		return Stays
	default:
		return No
	}
}

func (d DaemonSet) untolerated(node *corev1.Node, effects ...corev1.TaintEffect) bool {
	const comparison = true // The API server accepts Lt and Gt only where the DaemonSet controller knows them.
	_, found := helpers.FindMatchingUntoleratedTaint(klog.Logger{}, node.Spec.Taints, d.tolerations, func(t *corev1.Taint) bool {
		return slices.Contains(effects, t.Effect)
	}, comparison)
	return found
}

// tolerations are those of the pods: of the template, and those that the DaemonSet controller adds.
func tolerations(pod *corev1.PodSpec) []corev1.Toleration {
	all := slices.Clone(pod.Tolerations)
	add := func(key string, effect corev1.TaintEffect) {
		all = append(all, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect})
	}
	add(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	add(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)
	add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	if pod.HostNetwork {
		add(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)
	}
	return all
}

// Replicas are the names of the pods of a StatefulSet; false if there are more than an AgentSet can have Agents.
func Replicas(s *appsv1.StatefulSet) (pods []string, ok bool) {
	count, start := 1, 0
	if s.Spec.Replicas != nil {
		count = int(*s.Spec.Replicas)
	}
	if s.Spec.Ordinals != nil {
		start = int(s.Spec.Ordinals.Start)
	}
	if count > MaxReplicas {
		return nil, false
	}
	for ordinal := range max(count, 0) {
		pods = append(pods, s.Name+"-"+strconv.Itoa(start+ordinal))
	}
	return pods, true
}
