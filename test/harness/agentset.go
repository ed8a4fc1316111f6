/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// worldLabel is on the nodes of a World, and in the node selector of its DaemonSets: nodes are not namespaced.
const worldLabel = "test/world"

// Node is the name of one of the World's nodes.
func (w *World) Node(name string) string { return w.Namespace + "-" + name }

// Nodes creates nodes of the World. They are deleted with the test.
func (w *World) Nodes(names ...string) {
	w.Helper()
	for _, name := range names {
		w.NewNode(name)
	}
}

// NewNode creates one node. The API server taints a new node as not ready; NewNode removes the taint.
func (w *World) NewNode(name string, changes ...func(*corev1.Node)) *corev1.Node {
	w.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.Node(name), Labels: map[string]string{worldLabel: w.Namespace}}}
	for _, change := range changes {
		change(node)
	}
	taints := node.Spec.Taints
	w.Create(node)
	w.Cleanup(func() { w.removeNode(name) })
	w.ChangeNode(name, func(created *corev1.Node) { created.Spec.Taints = taints })
	return node
}

// RemoveNode deletes a node.
func (w *World) RemoveNode(name string) {
	w.Helper()
	w.removeNode(name)
}

func (w *World) removeNode(name string) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: w.Node(name)}}
	if err := w.Client.Delete(context.Background(), node); client.IgnoreNotFound(err) != nil {
		w.Error(err)
	}
}

// ChangeNode patches a node.
func (w *World) ChangeNode(name string, change func(*corev1.Node)) {
	w.Helper()
	var node corev1.Node
	w.Read(client.ObjectKey{Name: w.Node(name)}, &node)
	base := node.DeepCopy()
	change(&node)
	if err := w.Client.Patch(context.Background(), &node, client.MergeFrom(base)); err != nil {
		w.Fatal(err)
	}
}

// Read reads an object, or ends the test.
func (w *World) Read(key client.ObjectKey, object client.Object) {
	w.Helper()
	if err := w.Client.Get(context.Background(), key, object); err != nil {
		w.Fatalf("get %T %s: %v", object, key, err)
	}
}

// pod is the template of a workload of the World.
func (w *World) pod(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeSelector: map[string]string{worldLabel: w.Namespace},
			Containers:   []corev1.Container{{Name: "fluent-bit", Image: "fluent-bit"}},
		},
	}
}

// DaemonSet creates a DaemonSet that runs on the World's nodes.
func (w *World) DaemonSet(name string, changes ...func(*appsv1.DaemonSet)) string {
	w.Helper()
	ds := &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: w.pod(name),
		},
	}
	for _, change := range changes {
		change(ds)
	}
	w.Create(ds)
	return name
}

// StatefulSet creates a StatefulSet.
func (w *World) StatefulSet(name string, replicas int32, changes ...func(*appsv1.StatefulSet)) string {
	w.Helper()
	s := &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: w.pod(name),
		},
	}
	for _, change := range changes {
		change(s)
	}
	w.Create(s)
	return name
}

// NewAgentSet is an AgentSet of a DaemonSet.
func (w *World) NewAgentSet(name, daemonSet string, changes ...func(*v1alpha1.AgentSet)) *v1alpha1.AgentSet {
	set := &v1alpha1.AgentSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name},
		Spec: v1alpha1.AgentSetSpec{
			TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: daemonSet},
			Template:  v1alpha1.AgentTemplate{Spec: w.NewAgent("").Spec},
			Sessions:  v1alpha1.AgentSetSessions{Shards: 1},
		},
	}
	for _, change := range changes {
		change(set)
	}
	return set
}

// AgentSet creates an AgentSet of a DaemonSet.
func (w *World) AgentSet(name, daemonSet string, changes ...func(*v1alpha1.AgentSet)) string {
	w.Helper()
	w.Create(w.NewAgentSet(name, daemonSet, changes...))
	return name
}

// GetSet reads an AgentSet.
func (w *World) GetSet(name string) *v1alpha1.AgentSet {
	w.Helper()
	var set v1alpha1.AgentSet
	w.Read(w.Key(name), &set)
	return &set
}

// ChangeSet patches an AgentSet as a user would.
func (w *World) ChangeSet(name string, change func(*v1alpha1.AgentSet)) {
	w.Helper()
	set := w.GetSet(name)
	base := set.DeepCopy()
	change(set)
	if err := w.Client.Patch(context.Background(), set, client.MergeFrom(base)); err != nil {
		w.Fatalf("patch AgentSet %s: %v", name, err)
	}
}

// SetReady waits until an AgentSet is Ready with so many Agents, all up to date and with stored sessions.
func (w *World) SetReady(name string, agents int) *v1alpha1.AgentSet {
	w.Helper()
	var set *v1alpha1.AgentSet
	w.Eventually(fmt.Sprintf("AgentSet %s becomes Ready with %d Agents", name, agents), func() error {
		set = w.GetSet(name)
		s := &set.Status
		ready := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionReady)
		switch {
		case ready == nil || ready.Status != metav1.ConditionTrue || s.ObservedGeneration != set.Generation:
			return fmt.Errorf("generation %d of %d: %+v", s.ObservedGeneration, set.Generation, s)
		case int(s.Desired) != agents || s.Ready != s.Desired || s.UpToDate != s.Desired:
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return set
}

// SetBecomes waits until a condition of an AgentSet has a status and a reason, with a message that contains all words.
func (w *World) SetBecomes(name, kind string, status metav1.ConditionStatus, reason string, words ...string) *v1alpha1.AgentSet {
	w.Helper()
	var set *v1alpha1.AgentSet
	w.Eventually(fmt.Sprintf("AgentSet %s becomes %s=%s (%s)", name, kind, status, reason), func() error {
		set = w.GetSet(name)
		c := meta.FindStatusCondition(set.Status.Conditions, kind)
		if c == nil || c.Status != status || c.Reason != reason || c.ObservedGeneration != set.Generation {
			return fmt.Errorf("conditions are %+v", set.Status.Conditions)
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("the message %q lacks %q", c.Message, word)
			}
		}
		return nil
	})
	return set
}

// AgentsOf are the Agents of an AgentSet, by node or replica.
func (w *World) AgentsOf(set string) map[string]v1alpha1.Agent {
	w.Helper()
	var list v1alpha1.AgentList
	err := w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace), client.MatchingLabels{v1alpha1.LabelAgentSet: set})
	if err != nil {
		w.Fatal(err)
	}
	agents := map[string]v1alpha1.Agent{}
	for _, a := range list.Items {
		agents[a.Labels[v1alpha1.LabelAgentSetKey]] = a
	}
	return agents
}

// StoredSessions are the sessions in the Secrets of an AgentSet: the ID of the remote agent by node or replica. strays is
// the number of sessions in the wrong Secret.
func (w *World) StoredSessions(set *v1alpha1.AgentSet) (ids map[string]string, strays int) {
	w.Helper()
	ids = map[string]string{}
	shards := int(max(set.Spec.Sessions.Shards, 1))
	for shard := range shards {
		secret := w.Secret(agentset.SecretName(set.Name, set.Spec.Sessions.SecretName, shard))
		if secret == nil {
			continue
		}
		for slot, entry := range tokensecret.Entries(secret) {
			if agentset.Shard(slot, shards) != shard {
				strays++
				continue
			}
			ids[slot] = tokensecret.SessionID(&corev1.Secret{Data: map[string][]byte{
				tokensecret.SessionKey: entry[slot+"."+tokensecret.SessionKey],
			}})
		}
	}
	return ids, strays
}

// HasExactly waits until the cloud has exactly one agent for each node or replica, and the Secrets have exactly their
// sessions.
func (w *World) HasExactly(name string, keys ...string) {
	w.Helper()
	slices.Sort(keys)
	w.Eventually(fmt.Sprintf("exactly %v have an agent and a session", keys), func() error {
		remote := map[string]cloud.Agent{}
		for _, a := range w.Remote() {
			remote[a.ID] = a
		}
		agents := w.AgentsOf(name)
		sessions, strays := w.StoredSessions(w.GetSet(name))
		if len(remote) != len(keys) || len(agents) != len(keys) || len(sessions) != len(keys) || strays > 0 {
			return fmt.Errorf("%d remote agents, %d Agents, %d sessions and %d in a wrong Secret",
				len(remote), len(agents), len(sessions), strays)
		}
		for _, key := range keys {
			agent := agents[agentset.Slot(key)]
			is, found := remote[agent.Status.ID]
			if !found || is.Name != key || sessions[agentset.Slot(key)] != is.ID {
				return fmt.Errorf("%s: the remote agent is %q, the Agent's %q, the session's %q", key, is.ID, agent.Status.ID,
					sessions[agentset.Slot(key)])
			}
		}
		return nil
	})
}
