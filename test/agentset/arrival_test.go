/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A kubelet registers its node with the taint not-ready, and starts pods once the network of the node is ready. If the
// DaemonSet tolerates the taint, the session is stored by then. If not, the DaemonSet gets a pod, and the set an Agent, once the
// taint is removed; the init container waits.
func TestANodeHasItsSessionBeforeAPodCouldStart(t *testing.T) {
	t.Parallel()
	notReady := corev1.Toleration{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists}
	for name, tolerations := range map[string][]corev1.Toleration{"it tolerates not-ready": {notReady}, "it does not": nil} {
		t.Run(name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{})
			w.Nodes("a")
			w.AgentSet("logs", w.DaemonSet("fluent-bit", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.Tolerations = tolerations }))
			w.SetReady("logs", 1)
			w.Clock.Step(time.Minute) // The set is idle.

			begun := time.Now()
			w.NewNode("b", nodes["new"])
			if tolerations == nil {
				begun = time.Now()
				w.ChangeNode("b", func(n *corev1.Node) { n.Spec.Taints = nil })
			}
			ready, stored := arrives(w, "b", begun)
			t.Logf("the Agent is Ready after %s, the session is stored after %s", ready, stored)
			var node corev1.Node
			w.Read(client.ObjectKey{Name: w.Node("b")}, &node)
			if tolerations != nil && len(node.Spec.Taints) != 1 {
				t.Errorf("the node was ready meanwhile: %v", node.Spec.Taints)
			}
			w.HasExactly("logs", keys(w, "a", "b")...)
		})
	}
}

// arrives waits until the Agent of a new node is Ready and its session stored.
func arrives(w *harness.World, node string, begun time.Time) (ready, stored time.Duration) {
	w.Helper()
	name := agentset.AgentName("logs", w.Node(node))
	w.Eventually("the Agent is there", func() error { return w.Client.Get(w.Context(), w.Key(name), &v1alpha1.Agent{}) })
	w.Ready(name)
	ready = time.Since(begun)
	w.Eventually("the session is stored", func() error {
		if ids, _ := w.StoredSessions(w.GetSet("logs")); ids[w.Node(node)] == "" {
			return errors.New("it is not")
		}
		return nil
	})
	return ready, time.Since(begun)
}

// The template, and the constraints of the DaemonSet, change while half of the registrations have no response yet.
func TestTheTemplateChangesUnderWay(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.NewNode("a", nodes["gpu"])
	w.NewNode("b", nodes["gpu"])
	w.Nodes("c", "d")
	entered, block := make(chan struct{}, 8), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 2, Entered: entered, Block: block})
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), delay(0))
	<-entered
	<-entered
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Spec.Version, set.Spec.Template.Spec.RawConfig = newVersion, "[INPUT]\n    name mem\n"
	})
	var ds appsv1.DaemonSet
	w.Read(w.Key("fluent-bit"), &ds)
	base := ds.DeepCopy()
	ds.Spec.Template.Spec.NodeSelector["gpu"] = "true"
	if err := w.Client.Patch(t.Context(), &ds, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	close(block)
	w.SetReady("logs", 2)
	w.HasExactly("logs", keys(w, "a", "b")...)
	w.Eventually("the remote agents have the new template", func() error {
		for _, remote := range w.Remote() {
			if remote.Version != newVersion || remote.RawConfig != "[INPUT]\n    name mem\n" {
				return fmt.Errorf("%+v", remote)
			}
		}
		return nil
	})
}
