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
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A CloudProject is replaced by a corrected one of the same name (kubectl replace --force), while a reconciliation of an Agent waits for the
// API server. The Agent continues with the new one.
func TestCloudProject_ReplacedDuringAReconciliation_TheAgentContinues(t *testing.T) {
	t.Parallel()
	spec := func(cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector, Selector: &metav1.LabelSelector{}}
	}
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		spec(cp)
		w.CloudTimeout = time.Minute
	})
	made := w.Register("existing", "machine-of-an-existing-one")
	w.Guest(tenant, "guest", func(a *v1alpha1.Agent) { a.Spec.AgentID, a.Spec.Type = made.ID, "" })
	tenant.Stalled("guest", v1alpha1.ReasonAdoptionNotAllowed)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Entered: entered, Block: release})
	tenant.Poke("guest")
	<-entered
	if err := w.Client.Delete(context.Background(), w.Project()); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the CloudProject goes", func() error {
		var cp v1alpha1.CloudProject
		if err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp); apierrors.IsNotFound(err) {
			return nil
		}
		return errors.New("it is there")
	})
	next := w.NewCloudProject("calyptia")
	spec(next)
	next.Spec.Adoption = v1alpha1.AdoptionAllowed
	w.Create(next)
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	close(release)
	tenant.Ready("guest") // Long before its retry.
}
