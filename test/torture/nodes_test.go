/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// cluster is an AgentSet "logs" in a separate place, and its nodes.
type cluster struct {
	*world
	*place
	labels map[string]string // of the nodes
	shards int
	there  map[string]bool // the nodes by name: whether they exist
}

// newCluster makes the AgentSet and its DaemonSet, without nodes. most is how many nodes there will be at once.
func newCluster(t *testing.T, name string, removalDelay time.Duration, most int) *cluster {
	t.Helper()
	w, p := alone(t, name, cloudtest.Settings{})
	c := &cluster{world: w, place: p, labels: map[string]string{"torture/" + name: "true"}, shards: 1 + most/700, there: map[string]bool{}}
	c.create(&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "fluent-bit"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: c.labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: c.labels}, Spec: corev1.PodSpec{
			NodeSelector: c.labels, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "fluent-bit", Image: "fluent-bit"}},
		}},
	}})
	c.create(&v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "logs"}, Spec: v1alpha1.AgentSetSpec{
		TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: "fluent-bit"},
		Template: v1alpha1.AgentTemplate{Spec: v1alpha1.AgentSpec{
			ProjectRef: &v1alpha1.CloudProjectReference{Name: projectName}, Type: v1alpha1.AgentTypeFluentBit, Version: "v4.0.0", RawConfig: "[INPUT]\n    name dummy\n",
		}},
		Sessions:     v1alpha1.AgentSetSessions{Shards: int32(c.shards)},
		RemovalDelay: &metav1.Duration{Duration: removalDelay},
	}})
	t.Cleanup(func() {
		for name := range c.there {
			_ = client.IgnoreNotFound(w.kube.Delete(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		}
	})
	return c
}

func (c *cluster) add(ctx context.Context, name string) error {
	c.there[name] = true
	return c.node(ctx, name)
}

// node creates a node.
func (c *cluster) node(ctx context.Context, name string) error {
	return persist(ctx, "add "+name, func(ctx context.Context) error {
		return client.IgnoreAlreadyExists(c.kube.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: c.labels}}))
	})
}

func (c *cluster) remove(ctx context.Context, name string) error {
	c.there[name] = false
	return persist(ctx, "remove "+name, func(ctx context.Context) error {
		return client.IgnoreNotFound(c.kube.Delete(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	})
}

// count is the number of nodes.
func (c *cluster) count() (n int) {
	for _, is := range c.there {
		if is {
			n++
		}
	}
	return n
}

// settles waits until each node has exactly one Agent, one remote agent and one session, and returns how long that took.
func (c *cluster) settles(patience time.Duration) (took time.Duration, last error) {
	pause := max(100*time.Millisecond, time.Duration(c.count())*time.Millisecond)
	began := time.Now()
	for time.Since(began) < patience {
		if last = c.differs(); last == nil {
			return time.Since(began), nil
		}
		if err := testenv.Pause(context.Background(), pause); err != nil {
			return 0, err
		}
	}
	return 0, last
}

// differs says how Agents, remote agents or sessions differ from the nodes.
func (c *cluster) differs() error {
	var agents v1alpha1.AgentList
	if err := c.kube.List(context.Background(), &agents, client.InNamespace(c.namespace)); err != nil {
		return err
	}
	sessions := map[string]map[string][]byte{}
	for shard := range c.shards {
		var secret corev1.Secret
		key := client.ObjectKey{Namespace: c.namespace, Name: fmt.Sprintf("logs-sessions-%d", shard)}
		if err := c.kube.Get(context.Background(), key, &secret); err != nil {
			return err
		}
		maps.Copy(sessions, tokensecret.Entries(&secret))
	}
	want, remote := c.count(), c.cloud.Agents(c.projectID)
	if len(agents.Items) != want || len(remote) != want || len(sessions) != want {
		return fmt.Errorf("%d Agents, %d remote agents and %d sessions for %d nodes", len(agents.Items), len(remote), len(sessions), want)
	}
	ids := map[string]string{}
	for i := range agents.Items {
		ids[agents.Items[i].Labels[v1alpha1.LabelAgentSetKey]] = agents.Items[i].Status.ID
	}
	for _, a := range remote {
		stored := tokensecret.SessionID(&corev1.Secret{Data: map[string][]byte{
			tokensecret.SessionKey: sessions[a.Name][a.Name+"."+tokensecret.SessionKey],
		}})
		if !c.there[a.Name] || stored != a.ID || ids[a.Name] != a.ID {
			return fmt.Errorf("the agent %s of %s has the session of %s and the Agent of %s", a.ID, a.Name, stored, ids[a.Name])
		}
	}
	return nil
}
