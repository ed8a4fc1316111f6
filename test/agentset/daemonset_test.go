/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func taint(key string, effect corev1.TaintEffect) corev1.Taint {
	return corev1.Taint{Key: key, Value: "x", Effect: effect}
}

// nodes differ in everything that a DaemonSet can select by.
var nodes = map[string]func(*corev1.Node){
	"plain":  func(*corev1.Node) {},
	"gpu":    func(n *corev1.Node) { n.Labels["gpu"], n.Labels["zone"] = "true", "a" },
	"zone-b": func(n *corev1.Node) { n.Labels["zone"], n.Labels["cores"] = "b", "16" },
	"control": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint("node-role.kubernetes.io/control-plane", corev1.TaintEffectNoSchedule)}
	},
	"dedicated": func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{taint("dedicated", corev1.TaintEffectNoExecute)} },
	"preferred": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint("busy", corev1.TaintEffectPreferNoSchedule)}
	},
	"cordoned": func(n *corev1.Node) {
		n.Spec.Unschedulable = true
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)}
	},
	"not-ready": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)}
	},
	"new": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)}
	},
	"unreachable": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)}
	},
	"no-network": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule)}
	},
	"full": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint(corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule),
			taint(corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule), taint(corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule)}
	},
	"off": func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{taint("node.cloudprovider.kubernetes.io/shutdown", corev1.TaintEffectNoSchedule)}
	},
}

func required(terms ...corev1.NodeSelectorTerm) *corev1.Affinity {
	return &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
	}}
}

func expression(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: op, Values: values}
}

func labels(expressions ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: expressions}
}

// daemonSets use every constraint of a pod template.
func daemonSets(w *harness.World) map[string]func(*corev1.PodSpec) {
	tolerates := func(t ...corev1.Toleration) func(*corev1.PodSpec) {
		return func(p *corev1.PodSpec) { p.Tolerations = t }
	}
	affine := func(a *corev1.Affinity) func(*corev1.PodSpec) { return func(p *corev1.PodSpec) { p.Affinity = a } }
	return map[string]func(*corev1.PodSpec){
		"plain":         func(*corev1.PodSpec) {},
		"selector":      func(p *corev1.PodSpec) { p.NodeSelector["gpu"] = "true" },
		"nowhere":       func(p *corev1.PodSpec) { p.NodeSelector["gpu"] = "false" },
		"host-network":  func(p *corev1.PodSpec) { p.HostNetwork = true },
		"everywhere":    tolerates(corev1.Toleration{Operator: corev1.TolerationOpExists}),
		"control-plane": tolerates(corev1.Toleration{Key: "node-role.kubernetes.io/control-plane", Effect: corev1.TaintEffectNoSchedule, Operator: corev1.TolerationOpExists}),
		"equal":         tolerates(corev1.Toleration{Key: "dedicated", Value: "x"}),
		"other-value":   tolerates(corev1.Toleration{Key: "dedicated", Value: "y"}),
		"other-effect":  tolerates(corev1.Toleration{Key: "dedicated", Value: "x", Effect: corev1.TaintEffectNoSchedule}),
		"in":            affine(required(labels(expression("zone", corev1.NodeSelectorOpIn, "a", "c")))),
		"not-in":        affine(required(labels(expression("zone", corev1.NodeSelectorOpNotIn, "a")))),
		"exists":        affine(required(labels(expression("zone", corev1.NodeSelectorOpExists)))),
		"does-not":      affine(required(labels(expression("zone", corev1.NodeSelectorOpDoesNotExist)))),
		"more-than":     affine(required(labels(expression("cores", corev1.NodeSelectorOpGt, "8")))),
		"less-than":     affine(required(labels(expression("cores", corev1.NodeSelectorOpLt, "8")))),
		"either":        affine(required(labels(expression("gpu", corev1.NodeSelectorOpExists)), labels(expression("zone", corev1.NodeSelectorOpIn, "b")))),
		"both":          affine(required(labels(expression("gpu", corev1.NodeSelectorOpExists), expression("zone", corev1.NodeSelectorOpIn, "b")))),
		"empty-term":    affine(required(corev1.NodeSelectorTerm{})),
		"by-name": affine(required(corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
			expression("metadata.name", corev1.NodeSelectorOpIn, w.Node("plain"))}})),
		"preferred-only": affine(&corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{Weight: 1, Preference: labels(expression("gpu", corev1.NodeSelectorOpExists))}}}}),
		"one-node": func(p *corev1.PodSpec) { p.NodeName = w.Node("zone-b") },
	}
}

// podsOn are the nodes on which the real controller runs a pod of a DaemonSet, once it is up to date.
func podsOn(w *harness.World, daemonSet string) ([]string, error) {
	var ds appsv1.DaemonSet
	w.Read(w.Key(daemonSet), &ds)
	var pods corev1.PodList
	err := w.Client.List(context.Background(), &pods, client.InNamespace(w.Namespace), client.MatchingLabels{"app": daemonSet})
	if err != nil {
		return nil, err
	}
	var on []string
	for _, pod := range pods.Items {
		if pod.DeletionTimestamp == nil {
			on = append(on, nodeOf(&pod))
		}
	}
	slices.Sort(on)
	if s := ds.Status; s.ObservedGeneration != ds.Generation || int(s.DesiredNumberScheduled) > len(on) {
		return nil, fmt.Errorf("the controller is not done: %+v, pods on %v", s, on)
	}
	return on, nil
}

// nodeOf is the node that a pod of a DaemonSet is meant for, before it is scheduled.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return terms[0].MatchFields[0].Values[0]
}

// agentsOn are the nodes that have an Agent which does not wait for its removal.
func agentsOn(w *harness.World, set string) (on []string) {
	for key, agent := range w.AgentsOf(set) {
		if _, marked := agent.Annotations[v1alpha1.AnnotationRemovalStarted]; !marked && agent.DeletionTimestamp == nil {
			on = append(on, key)
		}
	}
	slices.Sort(on)
	return on
}

// runPods does the work of a scheduler and kubelets for the pods of a World: the DaemonSet controller deletes no pod of a
// node that is not bound to it.
func runPods(w *harness.World) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(50 * time.Millisecond); ctx.Err() == nil; {
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
			var pods corev1.PodList
			if w.Client.List(ctx, &pods, client.InNamespace(w.Namespace)) != nil {
				continue
			}
			for i := range pods.Items {
				runPod(ctx, w, &pods.Items[i])
			}
		}
	}()
	w.Cleanup(func() { cancel(); <-done })
}

func runPod(ctx context.Context, w *harness.World, pod *corev1.Pod) {
	err := w.Client.Get(ctx, client.ObjectKey{Name: nodeOf(pod)}, &corev1.Node{})
	switch {
	case pod.DeletionTimestamp != nil, apierrors.IsNotFound(err):
		_ = w.Client.Delete(ctx, pod, client.GracePeriodSeconds(0)) // It is retried if this fails.
	case pod.Spec.NodeName == "":
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: nodeOf(pod)}}
		_ = w.Client.SubResource("binding").Create(ctx, pod, binding)
	}
}

// compare waits until the real controller and the operator agree on every DaemonSet.
func compare(w *harness.World, when string) (total int) {
	w.Helper()
	for name := range daemonSets(w) {
		w.Eventually(when+": "+name+" has the same nodes", func() error {
			pods, err := podsOn(w, name)
			agents := agentsOn(w, name)
			if err == nil && !slices.Equal(pods, agents) {
				err = fmt.Errorf("pods on %v\nAgents on %v", pods, agents)
			}
			if set := w.GetSet(name); err == nil && (int(set.Status.Desired) != len(pods) || set.Status.ObservedGeneration != set.Generation) {
				err = fmt.Errorf("%d nodes are desired of %d", set.Status.Desired, len(pods))
			}
			total += len(pods)
			return err
		})
	}
	return total
}

func TestTheSameNodesAsTheDaemonSetController(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	for name, change := range nodes {
		w.NewNode(name, change)
	}
	runPods(w)
	for name, change := range daemonSets(w) {
		w.DaemonSet(name, func(ds *appsv1.DaemonSet) { change(&ds.Spec.Template.Spec) })
		w.AgentSet(name, name)
	}
	if total := compare(w, "at first"); total < 50 {
		t.Errorf("only %d pods", total)
	}

	changes := map[string]func(*corev1.Node){
		// A running pod stays where no new pod would start.
		"plain": func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{taint("maintenance", corev1.TaintEffectNoSchedule)}
		},
		"gpu":     func(n *corev1.Node) { n.Labels["zone"] = "b"; delete(n.Labels, "gpu") },
		"zone-b":  func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{taint("broken", corev1.TaintEffectNoExecute)} },
		"control": func(n *corev1.Node) { n.Spec.Taints = nil },
		"new":     func(n *corev1.Node) { n.Spec.Taints = nil },
		"off":     func(n *corev1.Node) { n.Labels = nil },
		// Drained: DaemonSets ignore that.
		"preferred": func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = append(n.Spec.Taints, taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule))
		},
	}
	for name, change := range changes {
		w.ChangeNode(name, change)
	}
	compare(w, "after changes of nodes")
	w.RemoveNode("full")
	w.NewNode("late", nodes["gpu"])
	compare(w, "after a node was removed and a node was added")
	w.RemoveNode("late")
	compare(w, "after it was removed again")
}

// TestAChangedDaemonSetMovesItsAgents changes the constraints of a DaemonSet, deletes it, and creates it again.
func TestAChangedDaemonSetMovesItsAgents(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.NewNode("a", nodes["gpu"])
	w.NewNode("b", nodes["plain"])
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	first := w.SetReady("logs", 2)
	id := w.AgentsOf("logs")[w.Node("a")].Status.ID

	var ds appsv1.DaemonSet
	w.Read(w.Key("fluent-bit"), &ds)
	base := ds.DeepCopy()
	ds.Spec.Template.Spec.NodeSelector["gpu"] = "true"
	if err := w.Client.Patch(t.Context(), &ds, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	w.SetReady("logs", 1)
	if err := w.Client.Delete(t.Context(), &ds, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
		t.Fatal(err)
	}
	w.SetBecomes("logs", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTargetNotFound, `DaemonSet "fluent-bit"`)
	w.DaemonSet("fluent-bit")
	w.SetReady("logs", 2)
	w.HasExactly("logs", w.Node("a"), w.Node("b"))
	if again := w.AgentsOf("logs")[w.Node("a")].Status.ID; again != id {
		t.Errorf("the agent of a is %s, and was %s", again, id)
	}
	if first.Status.Desired != 2 {
		t.Error(errors.New("it had not two nodes"))
	}
}
