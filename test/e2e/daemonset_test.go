/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const (
	everyNode = "fluent-bit" // name of all objects of the sample
	rollouts  = 10
)

// The sample gives every node an agent: its pods wait for their sessions, and report as the agents of their nodes, however
// often they are replaced.
func TestTheDaemonSetSample(t *testing.T) {
	install(t)
	w := newTeam(t)
	kubectl(t, "label", "namespace", w.namespace, "--overwrite", "pod-security.kubernetes.io/enforce=privileged")
	w.applyDaemonSet()
	kubectl(t, "wait", "agentset", everyNode, "--namespace", w.namespace, "--for=condition=Ready", "--timeout=4m")
	kubectl(t, "rollout", "status", "daemonset", everyNode, "--namespace", w.namespace, "--timeout=4m")
	before := w.reportsOnEveryNode()
	kubectl(t, "annotate", "agents.cloud.calyptia.com", "--all", "--namespace", w.namespace, "--overwrite", "cloud.calyptia.com/reconcile-at=now")
	kubectl(t, "wait", "agentset", everyNode, "--namespace", w.namespace, "--for=condition=Reporting", "--timeout=2m")

	for range rollouts {
		kubectl(t, "rollout", "restart", "daemonset", everyNode, "--namespace", w.namespace)
		kubectl(t, "rollout", "status", "daemonset", everyNode, "--namespace", w.namespace, "--timeout=4m")
	}
	for node, after := range w.reportsOnEveryNode() {
		if after.ID != before[node].ID || after.MetricsCount <= before[node].MetricsCount {
			t.Errorf("%s is the agent %s with %d metrics, and was %s with %d", node, after.ID, after.MetricsCount,
				before[node].ID, before[node].MetricsCount)
		}
	}
	if got := w.registrations(); got != len(before) {
		t.Errorf("%d registrations were sent for %d nodes", got, len(before))
	}
	kubectl(t, "delete", "agentset", everyNode, "--namespace", w.namespace)
	kubectl(t, "delete", "daemonset", everyNode, "--namespace", w.namespace)
	w.leave()
}

// applyDaemonSet applies the sample unchanged, and then a bundle with the private CA over that of the image.
func (w *team) applyDaemonSet() {
	w.Helper()
	kubectl(w, "apply", "-k", "config/samples/fluent-bit-daemonset", "--namespace", w.namespace)
	var d appsv1.DaemonSet
	if err := here.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: everyNode}, &d); err != nil {
		w.Fatal(err)
	}
	base := d.DeepCopy()
	spec := &d.Spec.Template.Spec
	trustTheCA(spec)
	spec.Containers[0].Image, spec.InitContainers[0].Image = image(spec.Containers[0].Image), image(spec.InitContainers[0].Image)
	if err := here.client.Patch(w.Context(), &d, client.MergeFrom(base)); err != nil {
		w.Fatal(err)
	}
}

// reportsOnEveryNode waits until each node that runs a pod of the sample has exactly one agent, and each agent has sent
// metrics since.
func (w *team) reportsOnEveryNode() map[string]cloud.Agent {
	w.Helper()
	agents, first := map[string]cloud.Agent{}, map[string]int64{}
	eventually(w, "not every node reports", func(ctx context.Context) error {
		var running corev1.PodList
		err := here.client.List(ctx, &running, client.InNamespace(w.namespace), client.MatchingLabels{"app.kubernetes.io/name": everyNode})
		if err != nil {
			return err
		}
		clear(agents)
		remote := here.cloud.Agents(w.projectID)
		for _, a := range remote {
			agents[a.Name] = a
			if _, seen := first[a.ID]; !seen {
				first[a.ID] = a.MetricsCount
			}
		}
		if len(remote) != len(running.Items) || len(agents) != len(remote) || len(remote) == 0 {
			return fmt.Errorf("%d agents for %d pods", len(remote), len(running.Items))
		}
		for _, pod := range running.Items {
			if a := agents[pod.Spec.NodeName]; a.MetricsCount <= first[a.ID] && a.MetricsCount == 0 {
				return fmt.Errorf("the agent of %s has sent no metrics", pod.Spec.NodeName)
			}
		}
		return nil
	})
	return agents
}
