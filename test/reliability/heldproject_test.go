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

// Another finalizer keeps a CloudProject that is being deleted: the operator has dropped its credentials, and sends no request with them.
func TestDeleteCloudProject_HeldByAnotherFinalizer_IsNotReady(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Finalizers = []string{"tenant.example.com/mine"}
	})
	t.Cleanup(func() { w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Finalizers = nil }) })
	w.ProjectBecomes(metav1.ConditionTrue, "")
	if err := w.Client.Delete(t.Context(), w.Project()); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the operator released the CloudProject", func() error {
		if slices.Contains(w.Project().Finalizers, v1alpha1.CloudProjectFinalizer) {
			return errors.New("it did not")
		}
		return nil
	})
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonInUse)
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonProjectNotReady)
}
