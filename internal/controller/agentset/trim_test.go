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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
)

func fullNode(name string, change func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: "uid", ResourceVersion: "7", Annotations: map[string]string{"note": "long"},
			Labels:        map[string]string{"kubernetes.io/hostname": name, "zone": "b"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubelet"}},
		},
		Spec: corev1.NodeSpec{
			Taints:     []corev1.Taint{{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}},
			PodCIDR:    "10.0.0.0/24",
			ProviderID: "cloud://1",
		},
		Status: corev1.NodeStatus{Images: []corev1.ContainerImage{{Names: []string{"image"}}}},
	}
	change(node)
	return node
}

func trimmed(t *testing.T, full *corev1.Node) *node {
	t.Helper()
	once, err := trimNode(full)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := trimNode(once)
	if n, ok := twice.(*node); ok && err == nil && twice == once {
		return n
	}
	t.Fatalf("%v became %v, error %v", once, twice, err)
	return nil
}

func TestOnlyWhatADaemonSetSelectsByIsKeptOfANode(t *testing.T) {
	a, b := trimmed(t, fullNode("node-a", func(*corev1.Node) {})), trimmed(t, fullNode("node-b", func(*corev1.Node) {}))
	if a.traits != b.traits {
		t.Errorf("nodes that differ by their names share nothing: %s, %s", a.traits.Value(), b.traits.Value())
	}
	read := kinds{}
	for _, n := range []*node{a, b, a} {
		if object := client.Object(n); object.GetName() != n.name || object.GetResourceVersion() != "7" {
			t.Errorf("the cache would see %q, version %q", object.GetName(), object.GetResourceVersion())
		}
		got, err := read.full(n)
		want := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{"kubernetes.io/hostname": n.name, "zone": "b"}},
			Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}}},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v, -want +got:\n%s", err, diff)
		}
	}
}

func TestWhichChangesOfANodeMovePods(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*corev1.Node)
		want   bool
	}{
		{"nothing", func(*corev1.Node) {}, false},
		{"a heartbeat", func(n *corev1.Node) { n.ResourceVersion, n.Annotations, n.Status = "8", nil, corev1.NodeStatus{} }, false},
		{"a label", func(n *corev1.Node) { n.Labels["zone"] = "c" }, true},
		{"a label that becomes the name", func(n *corev1.Node) { n.Labels["zone"] = n.Name }, true},
		{"a label is gone", func(n *corev1.Node) { delete(n.Labels, "zone") }, true},
		{"all labels are gone", func(n *corev1.Node) { n.Labels = nil }, true},
		{"a taint", func(n *corev1.Node) { n.Spec.Taints[0].Effect = corev1.TaintEffectNoExecute }, true},
		{"when the taint was added", func(n *corev1.Node) { n.Spec.Taints[0].TimeAdded = new(metav1.Now()) }, false},
		{"no taint", func(n *corev1.Node) { n.Spec.Taints = nil }, true},
	} {
		was, is := trimmed(t, fullNode("node-a", func(*corev1.Node) {})), trimmed(t, fullNode("node-a", row.change))
		if got := movesPods(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
		full := fullNode("node-a", row.change)
		got, err := kinds{}.full(is)
		for key, value := range full.Labels {
			if err != nil || got.Labels[key] != value || len(got.Labels) != len(full.Labels) {
				t.Errorf("%s: %v, error %v, want %v", row.name, got.Labels, err, full.Labels)
			}
		}
	}
}
