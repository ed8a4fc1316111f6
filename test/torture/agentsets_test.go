/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"math/rand/v2"
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

// setNodes is the number of nodes that come and go, and setTime the duration.
const (
	setNodes = 12
	setTime  = 20 * time.Second
)

// TestOneAgentForEachNodeThroughKills kills the operator repeatedly while the nodes of an AgentSet come and go and its
// template changes. Afterwards each node has one agent and its session, and nothing else is left.
func TestOneAgentForEachNodeThroughKills(t *testing.T) {
	t.Parallel()
	w, p := alone(t, "agentsets", cloudtest.Settings{})
	labels := map[string]string{"torture/agentsets": "true"}
	set := &v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "logs"}, Spec: v1alpha1.AgentSetSpec{
		TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: "fluent-bit"},
		Template: v1alpha1.AgentTemplate{Spec: v1alpha1.AgentSpec{
			ProjectRef: &v1alpha1.CloudProjectReference{Name: projectName}, Type: v1alpha1.AgentTypeFluentBit, Version: "v4.0.0", RawConfig: "[INPUT]\n    name dummy\n",
		}},
		RemovalDelay: &metav1.Duration{Duration: time.Second},
	}}
	w.create(&appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: p.namespace, Name: "fluent-bit"}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			NodeSelector: labels, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers: []corev1.Container{{Name: "fluent-bit", Image: "fluent-bit"}},
		}},
	}})
	w.create(set)
	k := &killer{world: w, rng: rand.New(rand.NewPCG(*seed, killStream)), at: map[moment]int{}}
	rng, there := rand.New(rand.NewPCG(*seed, workerStream)), map[string]bool{}
	err := k.chaos(setTime, 5, func(ctx context.Context, stop <-chan struct{}) error {
		for {
			name := fmt.Sprintf("torture-node-%d", rng.IntN(setNodes))
			node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
			change := func(ctx context.Context) error {
				return client.IgnoreAlreadyExists(w.kube.Create(ctx, node.DeepCopy()))
			}
			if there[name] {
				change = func(ctx context.Context) error { return client.IgnoreNotFound(w.kube.Delete(ctx, node)) }
			}
			if err := persist(ctx, "change "+name, change); err != nil {
				return err
			}
			there[name] = !there[name]
			select {
			case <-stop:
				return nil
			default:
			}
			if err := testenv.Pause(ctx, time.Duration(rng.Int64N(int64(300*time.Millisecond)))); err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for name := range there {
			_ = client.IgnoreNotFound(w.kube.Delete(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}))
		}
	})
	last := w.start("operator")
	defer last.Kill()
	want := 0
	for _, is := range there {
		if is {
			want++
		}
	}
	if err := w.nodesAgree(p, there, want); err != nil {
		t.Errorf("%v: see %s", err, last.log)
	}
	if err := panics(w.logs); err != nil {
		t.Error(err)
	}
	t.Logf("%d kills, %d nodes in the end", k.kills, want)
}

// nodesAgree waits until each node has exactly one Agent, one remote agent and one session.
func (w *world) nodesAgree(p *place, there map[string]bool, want int) (last error) {
	for deadline := time.Now().Add(10*slack() + 90*time.Second); time.Now().Before(deadline); {
		if last = w.nodesDiffer(p, there, want); last == nil {
			return nil
		}
		if err := testenv.Pause(context.Background(), 100*time.Millisecond); err != nil {
			return err
		}
	}
	return last
}

func (w *world) nodesDiffer(p *place, there map[string]bool, want int) error {
	var agents v1alpha1.AgentList
	if err := w.kube.List(context.Background(), &agents, client.InNamespace(p.namespace)); err != nil {
		return err
	}
	var secret corev1.Secret
	err := w.kube.Get(context.Background(), client.ObjectKey{Namespace: p.namespace, Name: "logs-sessions-0"}, &secret)
	if err != nil {
		return err
	}
	sessions, remote := tokensecret.Entries(&secret), p.cloud.Agents(p.projectID)
	if len(agents.Items) != want || len(remote) != want || len(sessions) != want {
		return fmt.Errorf("%d Agents, %d remote agents and %d sessions for %d nodes", len(agents.Items), len(remote), len(sessions), want)
	}
	for _, a := range remote {
		stored := tokensecret.SessionID(&corev1.Secret{Data: map[string][]byte{
			tokensecret.SessionKey: sessions[a.Name][a.Name+"."+tokensecret.SessionKey],
		}})
		if !there[a.Name] || stored != a.ID {
			return fmt.Errorf("the agent %s of %s has the session of %s", a.ID, a.Name, stored)
		}
	}
	return nil
}
