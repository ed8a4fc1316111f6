/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unique"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
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

// Whoever may write DaemonSets needs no right to any kind of the operator to fill the memory that all teams share.
func TestAWorkloadTakesABoundedPartOfTheMemory(t *testing.T) {
	const objects, most = 4, 64 << 10
	daemonSet := func(change func(*corev1.PodSpec)) func() client.Object {
		return func() client.Object {
			ds := &appsv1.DaemonSet{Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{}}}
			change(&ds.Spec.Template.Spec)
			return ds
		}
	}
	terms := func(count int, term corev1.NodeSelectorTerm) func() client.Object {
		return daemonSet(func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: slices.Repeat([]corev1.NodeSelectorTerm{term}, count)}}}
		})
	}
	for name, object := range map[string]func() client.Object{
		"empty terms": terms(100_000, corev1.NodeSelectorTerm{}),
		"terms": terms(10_000, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "a", Operator: corev1.NodeSelectorOpExists},
		}}),
		"the most terms that are kept": terms(2_000, corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
			{Key: "a", Operator: corev1.NodeSelectorOpExists},
		}}),
		"preferred terms": daemonSet(func(pod *corev1.PodSpec) {
			pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: make([]corev1.PreferredSchedulingTerm, 50_000)}}
		}),
		"tolerations": daemonSet(func(pod *corev1.PodSpec) { pod.Tolerations = make([]corev1.Toleration, 50_000) }),
		"a selector of nodes": daemonSet(func(pod *corev1.PodSpec) {
			pod.NodeSelector = map[string]string{}
			for i := range 20_000 {
				pod.NodeSelector[strconv.Itoa(i)] = ""
			}
		}),
		"owners": func() client.Object {
			return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{OwnerReferences: make([]metav1.OwnerReference, 20_000)}}
		},
		"labels of a node": func() client.Object {
			return fullNode("a", func(n *corev1.Node) {
				for i := range 20_000 {
					n.Labels[strconv.Itoa(i)] = ""
				}
			})
		},
	} {
		var kept []any
		before := testenv.Heap()
		for range objects {
			o := object()
			transform := TrimWorkload
			if _, ok := o.(*corev1.Node); ok {
				transform = trimNode
			}
			once, err := transform(o)
			if err != nil {
				t.Fatal(err)
			}
			twice, err := transform(once)
			if diff := cmp.Diff(once, twice, cmp.AllowUnexported(node{}), cmp.Comparer(func(a, b unique.Handle[string]) bool { return a == b })); err != nil || diff != "" {
				t.Errorf("%s: %v, what was trimmed is changed: %s", name, err, diff)
			}
			kept = append(kept, twice)
		}
		if each := (testenv.Heap() - before) / objects; each > most {
			t.Errorf("%s take %d KiB in memory, want %d at most", name, each>>10, most>>10)
		}
		runtime.KeepAlive(kept)
	}
}

// A node with more labels than the cache keeps neither gets an Agent nor loses it.
func TestANodeWithTooManyLabelsKeepsItsAgent(t *testing.T) {
	n := trimmed(t, fullNode("node-a", func(n *corev1.Node) { n.Labels["a"] = strings.Repeat("a", maxTraits) }))
	read := kinds{}
	if fit, err := read.fit(n, agentset.NewDaemonSet(&appsv1.DaemonSet{})); fit != agentset.Stays || err != nil {
		t.Errorf("%v, error %v", fit, err)
	}
}
