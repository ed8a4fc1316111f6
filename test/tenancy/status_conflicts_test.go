/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant writes annotations of its Agent all the time, so that each write of its status conflicts. Those writes cause no requests to Calyptia
// Cloud: only the request to reconcile does, with a backoff.
func TestStatus_EachWriteConflicts_FewRequestsAreSent(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "web"))
	failing(w, http.StatusConflict, metav1.StatusReasonConflict, tenant.Namespace+"/agents/web/status", func() bool { return true })
	w.Cloud.ResetRequests()
	tenant.Poke("web")
	for i := range 100 {
		tenant.Change("web", func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "team/note", fmt.Sprint(i)) })
		w.Eventually("a read", func() error {
			if w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent) == 0 {
				return errors.New("there is none")
			}
			return nil
		})
	}
	if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); n > 60 { // One for each change would be a hundred.
		t.Errorf("%d reads for one request to reconcile", n)
	}
	w.API.Around(nil)
	tenant.Check("web")
	tenant.Ready("web")
}

// denying has a webhook deny the first requests to a path. It returns how many requests there were.
func denying(w *harness.World, method, path string, code int, reason metav1.StatusReason, first int32, message string) *atomic.Int32 {
	w.Helper()
	var requests atomic.Int32
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != method || !strings.HasSuffix(r.URL.Path, path) || requests.Add(1) > first {
			return send(r)
		}
		return harness.Refusal(r, code, reason, message)
	})
	return &requests
}

// A webhook of the cluster denies writes with the code of a conflict, as that of hierarchical namespaces does. That is no stale cache, which
// the next try would find up to date: the condition says what denies it, and there is a backoff.
func TestSecret_WebhookDeniesWithConflict_IsShown(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	denied := denying(w, http.MethodPost, tenant.Namespace+"/secrets", http.StatusConflict, metav1.StatusReasonConflict, math.MaxInt32,
		`admission webhook "objects.hnc.x-k8s.io" denied the request: would overwrite objects in a descendant namespace`)
	tenant.Stalled(w.Guest(tenant, "web"), v1alpha1.ReasonSecretWriteRefused, "objects.hnc.x-k8s.io", "descendant namespace", "policy")
	if n := denied.Load(); n > 3 {
		t.Errorf("%d writes were denied", n)
	}
	w.API.Around(nil)
	tenant.Poke("web")
	tenant.Ready("web")
}

// A webhook that has trouble denies with 500: that is no policy, and the write is tried again soon.
func TestSecret_WebhookHasTrouble_IsTriedAgain(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	denied := denying(w, http.MethodPost, tenant.Namespace+"/secrets", http.StatusInternalServerError, metav1.StatusReasonInternalError, 2,
		`admission webhook "labels.example.com" denied the request: the cache has not synced`)
	tenant.Ready(w.Guest(tenant, "web"))
	if n := denied.Load(); n < 3 {
		t.Errorf("the Secret was written %d times", n)
	}
}

// A policy rejects the status of an Agent that the operator released, and that a finalizer of others keeps: that has a backoff, too.
func TestStatus_OfAReleasedAgentIsRejected_HasABackoff(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("other"))
	tenant.Ready(w.Guest(tenant, "web", func(a *v1alpha1.Agent) { a.Finalizers = []string{"example.com/hold"} }))
	var rejected atomic.Int32
	failing(w, http.StatusForbidden, metav1.StatusReasonForbidden, tenant.Namespace+"/agents/web/status", func() bool {
		rejected.Add(1)
		return true
	})
	tenant.Delete("web")
	w.Eventually("a rejected write", func() error {
		if rejected.Load() == 0 {
			return errors.New("there is none")
		}
		return nil
	})
	for i := range 100 { // Each event of the Agent wakes it.
		tenant.Change("web", func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, "team/note", fmt.Sprint(i)) })
	}
	if n := rejected.Load(); n > 50 { // Without a backoff there is one for each.
		t.Errorf("%d writes were rejected", n)
	}
	w.API.Around(nil)
	tenant.Change("web", func(a *v1alpha1.Agent) { a.Finalizers = nil })
	tenant.Gone("web")
}

// A webhook denies with 404, because what it looks up is missing: what it denied is not gone. A CloudProject is released once it permits that.
func TestRelease_WebhookDeniesWithNotFound_IsTriedAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Delete("web")
	w.Gone("web")
	cp := w.Project()
	denied := denying(w, http.MethodPatch, "/cloudprojects/"+cp.Name, http.StatusNotFound, metav1.StatusReasonNotFound, 2,
		`admission webhook "owners.example.com" denied the request: owners.example.com "team-a" not found`)
	if err := w.Client.Delete(t.Context(), cp); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the CloudProject is gone", func() error {
		if err := w.Client.Get(t.Context(), w.Key(cp.Name), &v1alpha1.CloudProject{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("after %d writes: %w", denied.Load(), err)
		}
		return nil
	})
}
