/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The cache leaves out what no controller reads: what kubectl applied last, and configurations that are applied. The API server sends all
// of that, so it counts for the size of a page.
func TestDeleteCloudProject_LargeAgentsThatTheCacheShortens_AreNotReadAtOnce(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	const each = 7
	for i := range each {
		w.Guest(tenant, fmt.Sprint("configured-", i), func(a *v1alpha1.Agent) { a.Spec.RawConfig = strings.Repeat("ü", 130_000) })
		tenant.Apply(fmt.Sprint("annotated-", i), func(a *v1alpha1.Agent) {
			a.Spec.ProjectRef.Name = "none"
			a.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: strings.Repeat("x", 250_000)}
		})
	}
	for i := range each {
		tenant.Ready(fmt.Sprint("configured-", i))
		tenant.NotReady(fmt.Sprint("annotated-", i), v1alpha1.ReasonProjectNotFound)
	}
	other := w.NewCloudProject("other")
	w.Create(other)
	w.Eventually("its deletion waits for the operator", func() error {
		if err := w.Client.Get(context.Background(), w.Key("other"), other); err != nil || len(other.Finalizers) == 0 {
			return errors.Join(errors.New("it has no finalizer"), err)
		}
		return nil
	})
	most := mostAtOnce(w, tenant.Namespace)
	if err := w.Client.Delete(context.Background(), other); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the CloudProject is deleted", func() error {
		if err := w.Client.Get(context.Background(), w.Key("other"), other); !apierrors.IsNotFound(err) {
			return errors.Join(errors.New("it is there"), err)
		}
		return nil
	})
	if n := most.Load(); n < 1 || n > 10 { // Each has 250 kB, and a page 2 MiB.
		t.Errorf("a response to the operator has %d of the large Agents, want 10 at most", n)
	}
}
