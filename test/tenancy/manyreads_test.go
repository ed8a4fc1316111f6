/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// mostReads is how many Secrets that only have a label one check reads at most: fewer than a test creates.
const mostReads = 16

// labeled creates more small Secrets with a label, and counts the operator's reads of them.
func labeled(tenant *harness.World, label, value string) *atomic.Int64 {
	tenant.Helper()
	for i := range 2 * mostReads {
		tenant.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: tenant.Namespace, Name: fmt.Sprintf("labeled-%d", i), Labels: map[string]string{label: value},
		}})
	}
	reads := &atomic.Int64{}
	tenant.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, tenant.Namespace+"/secrets/labeled-") {
			reads.Add(1)
		}
		return send(r)
	})
	tenant.Cleanup(func() { tenant.API.Around(nil) })
	return reads
}

// Whoever may write Secrets writes the label of an Agent on any number of them. One reconciliation must not read them all: it holds a
// worker meanwhile, and none of its reads is a request that ends its turn.
func TestAgent_ManySecretsWithItsLabel_AreNotReadInOneCheck(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	a := tenant.Ready(w.Guest(tenant, "web"))
	reads := labeled(tenant, v1alpha1.LabelAgentUID, string(a.UID))
	tenant.Check("web") // Until then Secrets that appear may cause further reconciliations.
	for range 2 {
		reads.Store(0)
		tenant.Check("web")
		if n := reads.Load(); n > mostReads {
			t.Errorf("a check reads %d Secrets that are not the Agent's, want at most %d", n, mostReads)
		}
	}
}

// The same for an AgentSet.
func TestAgentSet_ManySecretsWithItsLabel_AreNotReadInOneCheck(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.AgentSet("logs", tenant.StatefulSet("logs", 1), ofStatefulSet, func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Spec.ProjectRef.Namespace = w.Namespace
	})
	tenant.SetReady("logs", 1)
	reads := labeled(tenant, v1alpha1.LabelAgentSetUID, string(tenant.GetSet("logs").UID))
	w.Clock.Step(time.Minute) // The pause after the last write is over.
	request := uuid.NewString()
	tenant.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, request)
	})
	tenant.Eventually("the request is handled", func() error {
		if got := tenant.GetSet("logs").Status.LastHandledReconcileAt; got != request {
			return fmt.Errorf("the last request handled is %q", got)
		}
		return nil
	})
	if n := reads.Load(); n > mostReads {
		t.Errorf("a check reads %d Secrets that are not the set's, want at most %d", n, mostReads)
	}
}
