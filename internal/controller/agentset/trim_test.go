/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOnlyWhatADaemonSetSelectsByIsKeptOfANode(t *testing.T) {
	labels := map[string]string{"kubernetes.io/hostname": "node-a", "zone": "b"}
	taints := []corev1.Taint{{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}}
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: "node-a", UID: "uid", ResourceVersion: "7", Labels: labels, Annotations: map[string]string{"note": "long"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec:   corev1.NodeSpec{Taints: taints, Unschedulable: true, PodCIDR: "10.0.0.0/24", ProviderID: "cloud://1"},
		Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"image"}}}},
	}
	got, err := TrimWorkload(node)
	want := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node-a", ResourceVersion: "7", Labels: map[string]string{"kubernetes.io/hostname": "node-a", "zone": "b"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}}, Unschedulable: true},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}
