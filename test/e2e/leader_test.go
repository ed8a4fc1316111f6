/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/test/e2e/node"
)

// leaseDuration is the default of the chart: how long the other replicas wait for a leader that has crashed.
const leaseDuration = 30 * time.Second

// failsOver ends the leader while Agents are being created, and expects another pod to continue within the time.
func failsOver(t *testing.T, within time.Duration, end func(leader *corev1.Pod)) {
	t.Helper()
	w := newTeam(t)
	w.declare(names("before", 20)...)
	w.exact(20)
	first := theLeader(t, "")
	w.declare(names("during", 20)...)
	end(first)
	began := time.Now()
	w.declare("after")
	second := theLeader(t, first.Name)
	w.exact(41)
	took := time.Since(began)
	t.Logf("%s replaced the leader %s, and everything is registered, after %.1fs", second.Name, first.Name, took.Seconds())
	if took > within {
		t.Errorf("it took %s", took)
	}
	w.leave()
}

// A pod that is deleted releases the lease.
func TestTheLeaderIsDeleted(t *testing.T) {
	install(t)
	failsOver(t, leaseDuration/2, func(leader *corev1.Pod) {
		if err := here.kube.CoreV1().Pods(leader.Namespace).Delete(t.Context(), leader.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

// A process that is killed cannot: the lease has to expire. The kubelet restarts the container, which may become the
// leader again, so here the other pod does not have to win.
func TestTheLeaderIsKilled_OnTheBuiltInNode(t *testing.T) {
	install(t)
	w := newTeam(t)
	w.declare(names("before", 20)...)
	w.exact(20)
	leader := theLeader(t, "")
	count := restarts(t)
	w.declare(names("during", 20)...)
	began := time.Now()
	kill(t, leader)
	w.declare("after")
	eventually(t, "no replica continues", func(ctx context.Context) error { return w.isReady(ctx, "after") })
	took := time.Since(began)
	// A registration in progress when the process ended is in doubt, and completes later.
	w.exact(41)
	t.Logf("the next Agent is registered after %.1fs, and all after %.1fs; the leader was %s and is %s",
		took.Seconds(), time.Since(began).Seconds(), leader.Name, theLeader(t, "").Name)
	if took > leaseDuration+15*time.Second {
		t.Errorf("it took %s", took)
	}
	eventually(t, "the killed container is not restarted", func(ctx context.Context) error { return allReady(ctx, 2) })
	if got := restarts(t); got != count+1 {
		t.Errorf("containers were restarted %d times, want 1", got-count)
	}
	w.leave()
}

// machine is the node that a pod runs on.
func machine(t testing.TB, pod *corev1.Pod) *node.Machine {
	t.Helper()
	i := slices.IndexFunc(here.node.Nodes, func(m *node.Machine) bool { return m.Name == pod.Spec.NodeName })
	if i < 0 {
		t.Fatalf("pod %s is on the node %q", pod.Name, pod.Spec.NodeName)
	}
	return here.node.Nodes[i]
}

// process is the process of a pod's container, on this machine.
func process(t testing.TB, pod *corev1.Pod) int {
	t.Helper()
	pids := machine(t, pod).PidsOf(string(pod.UID), pod.Status.ContainerStatuses[0].ContainerID)
	if len(pids) != 1 {
		t.Fatalf("pod %s has the processes %v", pod.Name, pids)
	}
	return pids[0]
}

func kill(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	if err := syscall.Kill(process(t, pod), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A leader that is cut off from the API server stops, although it could still reach Calyptia Cloud, and the pod of the
// other node continues. When it is back, nothing is duplicated.
func TestTheLeadersNodeIsCutOff_OnTheBuiltInNode(t *testing.T) {
	install(t)
	w := newTeam(t)
	w.declare(names("before", 20)...)
	w.exact(20)
	holder := theLeader(t, "")
	restore := cut(t, machine(t, holder))
	w.declare(names("during", 20)...)
	began := time.Now()
	w.exact(40)
	took := time.Since(began)
	if now := theLeader(t, ""); now.Name == holder.Name || now.Spec.NodeName == holder.Spec.NodeName {
		t.Errorf("%s on %s still leads", now.Name, now.Spec.NodeName)
	}
	t.Logf("the other pod has registered everything after %.1fs", took.Seconds())
	restore()
	eventually(t, "the pod that was cut off does not recover", func(ctx context.Context) error { return allReady(ctx, 2) })
	w.declare("after")
	w.exact(41)
	if got := w.registrations(); got != 41 {
		t.Errorf("%d registrations were sent for 41 Agents", got)
	}
	w.leave()
}

// While no pod reaches the API server there is no leader, and nothing is written. Then everything continues.
func TestEveryNodeIsCutOff_OnTheBuiltInNode(t *testing.T) {
	install(t)
	w := newTeam(t)
	w.declare(names("before", 20)...)
	w.exact(20)
	restore := cut(t, here.node.Nodes...)
	w.declare(names("during", 20)...)
	took := eventually(t, "the lease is renewed", func(ctx context.Context) error {
		var l coordinationv1.Lease
		if err := here.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: lease}, &l); err != nil {
			return err
		}
		if age := time.Since(l.Spec.RenewTime.Time); age < leaseDuration+10*time.Second {
			return fmt.Errorf("the last time %s ago", age)
		}
		return nil
	})
	if got := len(here.cloud.Agents(w.projectID)); got != 20 {
		t.Errorf("cut off, the operator has %d remote agents, not 20", got)
	}
	restore()
	began := time.Now()
	w.exact(40)
	t.Logf("cut off for %.0fs, everything is registered %.1fs after that", took.Seconds(), time.Since(began).Seconds())
	if got := w.registrations(); got != 40 {
		t.Errorf("%d registrations were sent for 40 Agents", got)
	}
	eventually(t, "the pods do not recover", func(ctx context.Context) error { return allReady(ctx, 2) })
	w.leave()
}

// cut cuts nodes off from the API server until restore is called or the test ends.
func cut(t testing.TB, nodes ...*node.Machine) (restore func()) {
	t.Helper()
	var all []func() error
	for _, m := range nodes {
		one, err := m.Cut(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = one() })
		all = append(all, one)
	}
	return func() {
		t.Helper()
		for _, one := range all {
			if err := one(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
