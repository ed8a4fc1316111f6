/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const foreignFinalizer = "tenant.example.com/mine"

// heldCopy is a World whose copy of the credentials is being deleted, and held by somebody else's finalizer.
func heldCopy(t *testing.T) *harness.World {
	t.Helper()
	w := harness.New(t, cloudtest.Settings{})
	w.ProjectBecomes(metav1.ConditionTrue, "")
	copied := w.Secret("calyptia-credentials")
	if copied == nil {
		t.Fatal("there is no copy")
	}
	w.Edit(copied, func() { controllerutil.AddFinalizer(copied, foreignFinalizer) })
	t.Cleanup(func() {
		if copied := w.Secret("calyptia-credentials"); copied != nil {
			w.Edit(copied, func() { controllerutil.RemoveFinalizer(copied, foreignFinalizer) })
		}
	})
	if err := w.Client.Delete(context.Background(), copied); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the operator released its copy", func() error {
		if copied := w.Secret("calyptia-credentials"); copied == nil || len(copied.Finalizers) > 1 {
			return errors.New("it did not")
		}
		return nil
	})
	return w
}

// What was not confirmed is not Ready: a token that is revoked meanwhile shows, and else that there is no copy.
func TestCloudProject_CopyHeldByAFinalizer_ShowsThatTheTokenIsRevoked(t *testing.T) {
	t.Parallel()
	w := heldCopy(t)
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.Cloud.Inject(cloudtest.Fault{
		Status: http.StatusUnauthorized, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"invalid token"}`,
	})
	w.PokeProject()
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonUnauthorized)
}

// Somebody else's finalizer may stay for ever: the operator does not write for as long.
func TestCloudProject_CopyHeldByAFinalizer_IsRenewedOnceItIsGone(t *testing.T) {
	t.Parallel()
	w := heldCopy(t)
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
	w.API.Reset()
	other := harness.New(t, cloudtest.Settings{}) // Meanwhile another operator does all its work.
	other.Ready(other.Apply("web"))
	if writes, conflicts := w.API.Writes(); len(writes)+conflicts > 0 {
		t.Errorf("there are %d conflicts, and writes %v", conflicts, writes)
	}
	copied := w.Secret("calyptia-credentials")
	w.Edit(copied, func() { controllerutil.RemoveFinalizer(copied, foreignFinalizer) })
	w.ProjectBecomes(metav1.ConditionTrue, "")
}
