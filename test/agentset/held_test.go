/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A finalizer keeps an AgentSet that is being deleted: it is not Ready, and names the finalizer. In a foreground deletion, which is how
// Argo CD deletes, that is first the finalizer of Kubernetes, for the Agents.
func TestDelete_HeldByAFinalizer_IsNotReady(t *testing.T) {
	t.Parallel()
	const theirs = "tenant.example.com/theirs"
	for name, policy := range map[string]metav1.DeletionPropagation{
		"background": metav1.DeletePropagationBackground, "foreground": metav1.DeletePropagationForeground,
	} {
		t.Run(name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{})
			w.Nodes("a")
			w.AgentSet("logs", w.DaemonSet("fluent-bit"), func(set *v1alpha1.AgentSet) { set.Finalizers = []string{theirs} })
			t.Cleanup(func() { w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Finalizers = nil }) })
			w.SetReady("logs", 1)
			if err := w.Client.Delete(t.Context(), w.GetSet("logs"), client.PropagationPolicy(policy)); err != nil {
				t.Fatal(err)
			}
			set := w.SetBecomes("logs", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing, theirs)
			if meta.IsStatusConditionTrue(set.Status.Conditions, v1alpha1.ConditionReconciling) {
				t.Errorf("the operator has nothing left to do: %+v", set.Status.Conditions)
			}
		})
	}
}
