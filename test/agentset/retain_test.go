/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func retaining(set *v1alpha1.AgentSet) {
	set.Spec.Template.Spec.DeletionPolicy = v1alpha1.DeletionRetain
}

// Within removalDelay the owner has the template retain the agents.
func TestRemoval_RetainDuringTheRemovalDelay_KeepsTheRemoteAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 2)
	w.RemoveNode("a")
	w.SetReady("logs", 1)
	w.Eventually("the removal of a is recorded", func() error {
		if a := w.AgentsOf("logs")[w.Node("a")]; a.Annotations[v1alpha1.AnnotationRemovalStarted] == "" {
			return fmt.Errorf("annotations %v", a.Annotations)
		}
		return nil
	})
	w.ChangeSet("logs", retaining)
	w.Eventually("the template reached the others", func() error {
		set, b := w.GetSet("logs"), w.AgentsOf("logs")[w.Node("b")]
		if set.Status.ObservedGeneration != set.Generation || b.Spec.DeletionPolicy != v1alpha1.DeletionRetain {
			return context.Canceled
		}
		return nil
	})
	w.Clock.Step(11 * time.Minute)
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, "now")
	})
	hasNoAgent(w, "logs", "a")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d remote agents are left, although the template said Retain for the whole of the delay", n)
	}
}

// First Retain, then the node goes, while the operator is being rolled out.
func TestRemoval_AfterRetain_WhileTheOperatorIsAway_KeepsTheRemoteAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), delay(0))
	w.SetReady("logs", 2)
	w.Stop()
	w.ChangeSet("logs", retaining)
	w.RemoveNode("a")
	w.Start()
	hasNoAgent(w, "logs", "a")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d remote agents are left, although the template said Retain before the node was removed", n)
	}
}

// hasNoAgent waits until the Agent of a node is gone.
func hasNoAgent(w *harness.World, set, node string) {
	w.Helper()
	w.Eventually("the Agent of "+node+" is gone", func() error {
		if a, there := w.AgentsOf(set)[w.Node(node)]; there {
			return fmt.Errorf("it is there: %s", harness.Describe(&a))
		}
		return nil
	})
}
