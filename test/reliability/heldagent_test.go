/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Somebody else's finalizer holds an Agent whose remote agent was deleted. What does not exist is not Ready.
func TestDelete_HeldByAnotherFinalizer_IsNotReady(t *testing.T) {
	t.Parallel()
	const mine = "tenant.example.com/mine"
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Finalizers = []string{mine} }))
	t.Cleanup(func() { w.Change("web", func(a *v1alpha1.Agent) { a.Finalizers = nil }) })
	w.Delete("web")
	w.Eventually("the operator released the Agent", func() error {
		if slices.Contains(w.Get("web").Finalizers, v1alpha1.AgentFinalizer) {
			return errors.New("it did not")
		}
		return nil
	})
	if n := len(w.Remote()); n != 0 {
		t.Fatalf("%d remote agents", n)
	}
	a := w.NotReady("web", v1alpha1.ReasonProgressing, "released")
	if harness.Condition(a, v1alpha1.ConditionReconciling).Status == metav1.ConditionTrue {
		t.Errorf("the operator has nothing left to do, and the Agent is %s", harness.Describe(a))
	}
}
