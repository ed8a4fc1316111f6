/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The servers of tenants list fleets without end: each page comes in a third of a second, and names a next one. A reconciliation ends
// nevertheless, and the list continues in the next turn.
func TestAgents_OfEndlessListsOfFleets_DelayNoOthers(t *testing.T) {
	t.Parallel()
	const (
		hostile = 4                     // They get 4, 2, 1 and 1 of the workers,
		busy    = 2*harness.Workers - 1 // or 3, 2, 1 and 1: the order in which they come decides.
	)
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	var namespaces []string
	var tenants []*harness.World
	for i := range hostile {
		namespaces = append(namespaces, w.AddNamespace(fmt.Sprintf("tenant-%d", i)))
		tenants = append(tenants, w.In(namespaces[i]))
	}
	w.Start(namespaces...)
	var begun, ended atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		if !strings.HasSuffix(r.URL.Path, "/fleets") {
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":"agent not found"}`))
			return
		}
		begun.Add(1)
		defer ended.Add(1)
		timer := time.NewTimer(300 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		}
		rw.Header().Set("Link", fmt.Sprintf("<%s?before=%s>; rel=\"next\"", r.URL.Path, uuid.NewString()))
		_, _ = fmt.Fprintf(rw, `[{"id":%q,"name":"other"}]`, uuid.NewString())
	}))
	t.Cleanup(server.Close)
	w.Ready(w.Apply("before"))
	for _, tenant := range tenants {
		tenant.Create(tenant.TokenSecret("calyptia-token", "a-token-of-the-tenant"))
		for i := range harness.Workers {
			cp := tenant.NewCloudProject(fmt.Sprintf("endless-%d", i))
			cp.Spec.URL, cp.Spec.ProjectID = server.URL, uuid.NewString()
			tenant.Create(cp)
			tenant.Apply(fmt.Sprintf("agent-%d", i), func(a *v1alpha1.Agent) {
				a.Spec.ProjectRef.Name = cp.Name
				a.Spec.Fleet = &v1alpha1.FleetReference{Name: "wanted"}
			})
		}
	}
	w.Eventually("the workers read lists", func() error {
		if n := begun.Load() - ended.Load(); n < busy {
			return fmt.Errorf("%d requests are in progress", n)
		}
		return nil
	})
	w.Ready(w.Apply("victim"))
}
