/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// blackHole is a server of a tenant that accepts requests and does not respond while the test runs.
type blackHole struct {
	*httptest.Server
	begun, ended atomic.Int64
}

// newBlackHole makes a server that responds to nothing except, if it verifies, to credential checks. Start the operator
// first: cleanups run in reverse order, so its requests end before it stops.
func newBlackHole(t *testing.T, verifies bool) *blackHole {
	t.Helper()
	hole, release := &blackHole{}, make(chan struct{})
	hole.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		credentials := strings.HasSuffix(r.URL.Path, uuid.Nil.String()) || strings.Contains(r.URL.Path, "/projects/")
		if verifies && credentials {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":"agent not found"}`))
			return
		}
		hole.begun.Add(1)
		defer hole.ended.Add(1)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(hole.Close)
	t.Cleanup(func() { close(release) })
	return hole
}

// swallows waits until n requests are in progress.
func (h *blackHole) swallows(w *harness.World, n int64) {
	w.Helper()
	w.Eventually(fmt.Sprintf("%d requests are in progress", n), func() error {
		if begun := h.begun.Load(); begun < n {
			return fmt.Errorf("only %d", begun)
		}
		return nil
	})
}

// busy is a World whose operator waits for a server longer than the test runs, and n more namespaces.
func busy(t *testing.T, n int) (w *harness.World, tenants []*harness.World) {
	t.Helper()
	w = harness.New(t, cloudtest.Settings{}, harness.Idle, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.CloudTimeout = 2 * harness.Patience
		w.Settings.PostWindow, w.Settings.Slack = 2*harness.Patience, 4*harness.Patience
	})
	var namespaces []string
	for i := range n {
		namespaces = append(namespaces, w.AddNamespace(fmt.Sprintf("tenant-%d", i)))
		tenants = append(tenants, w.In(namespaces[i]))
	}
	w.Start(namespaces...)
	return w, tenants
}

// swallowed creates a CloudProject of a tenant whose URL is the black hole.
func swallowed(tenant *harness.World, hole *blackHole, name string) {
	cp := tenant.NewCloudProject(name)
	cp.Spec.URL = hole.URL
	tenant.Create(cp)
}

// Requests of a tenant that get no response occupy workers until they time out. That must not delay the Agents of
// others.
func TestAgents_OfABlackHole_DelayNoOthers(t *testing.T) {
	for _, hostile := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d namespaces", hostile), func(t *testing.T) {
			t.Parallel()
			w, tenants := busy(t, hostile)
			hole := newBlackHole(t, true)
			w.Ready(w.Apply("before"))
			for _, tenant := range tenants {
				tenant.Create(tenant.TokenSecret("calyptia-token", "a-token-of-the-tenant"))
				swallowed(tenant, hole, "calyptia")
				for i := range 40 {
					tenant.Apply(fmt.Sprintf("agent-%d", i))
				}
			}
			hole.swallows(w, harness.Workers)
			for i := range 5 {
				w.Ready(w.Apply(fmt.Sprintf("victim-%d", i)))
			}
			if ended := hole.ended.Load(); ended != 0 {
				t.Errorf("%d requests of the tenants ended before the victims were Ready", ended)
			}
		})
	}
}

// The same for the credential checks of CloudProjects.
func TestCloudProjects_OfABlackHole_DelayNoOthers(t *testing.T) {
	t.Parallel()
	w, tenants := busy(t, 1)
	hole := newBlackHole(t, false)
	tenant := tenants[0]
	tenant.Create(tenant.TokenSecret("calyptia-token", "a-token-of-the-tenant"))
	for i := range 100 {
		swallowed(tenant, hole, fmt.Sprintf("hole-%d", i))
	}
	hole.swallows(w, 1)
	for i := range 5 {
		name := fmt.Sprintf("victim-%d", i)
		w.Create(w.NewCloudProject(name))
		w.Eventually("CloudProject "+name+" becomes Ready", func() error {
			var cp v1alpha1.CloudProject
			if err := w.Client.Get(context.Background(), w.Key(name), &cp); err != nil {
				return err
			}
			if !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("its conditions are %v", cp.Status.Conditions)
			}
			return nil
		})
	}
	if ended := hole.ended.Load(); ended != 0 {
		t.Errorf("%d requests of the tenant ended before the victims were Ready", ended)
	}
}
