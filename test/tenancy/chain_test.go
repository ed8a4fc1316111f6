/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
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
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// chain is a server of a tenant that responds to every request in time: it loses the responses to registrations, lists very many
// agents with the machine IDs of the tenant's Agents, and shows each, slowly, with another machine ID.
type chain struct {
	*httptest.Server
	inProgress, ended atomic.Int64
}

const (
	chained   = 300                    // agents for each Agent
	chainPace = 300 * time.Millisecond // of each response
)

func newChain(t *testing.T, machineIDs []string) *chain {
	t.Helper()
	c := &chain{}
	remote := func(id, machineID string) map[string]any {
		now := time.Now().UTC().Format(time.RFC3339Nano)
		return map[string]any{
			"id": id, "fleetID": nil, "token": "a-token-of-the-tenant", "name": "x", "machineID": machineID, "type": "fluentbit", "version": "v4.0.0",
			"edition": "community", "status": "healthy", "os": "linux", "arch": "x86_64", "flags": nil, "rawConfig": "x", "metadata": nil,
			"firstMetricsAddedAt": nil, "lastMetricsAddedAt": nil, "metricsCount": 0, "createdAt": now, "updatedAt": now,
			"environmentName": "default",
		}
	}
	c.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		respond := func(status int, body any) {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			_ = json.NewEncoder(rw).Encode(body)
		}
		switch {
		case r.Method == http.MethodPost:
			panic(http.ErrAbortHandler) // The response is lost.
		case strings.HasSuffix(r.URL.Path, uuid.Nil.String()):
			respond(http.StatusNotFound, map[string]string{"error": "agent not found"})
		case strings.HasSuffix(r.URL.Path, "/agents") && r.URL.Query().Get("last") == "1":
			respond(http.StatusOK, []any{remote(uuid.NewString(), "somebody")})
		case strings.HasSuffix(r.URL.Path, "/agents"):
			var all []any
			for _, machineID := range machineIDs {
				for range chained {
					all = append(all, remote(uuid.NewString(), machineID))
				}
			}
			respond(http.StatusOK, all)
		default:
			c.inProgress.Add(1)
			select {
			case <-time.After(chainPace):
			case <-r.Context().Done():
			}
			c.inProgress.Add(-1)
			c.ended.Add(1)
			respond(http.StatusOK, remote(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:], "another"))
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// Four namespaces have the eight workers, and each request ends after 0.3 s. However many requests the tenants' servers give a
// reason for, a reconciliation ends, and a further namespace gets a worker.
func TestAgents_OfAChainOfSlowRequests_DelayNoOthers(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	var tenants []*harness.World
	var namespaces []string
	for i := range 4 {
		namespaces = append(namespaces, w.AddNamespace(fmt.Sprintf("tenant-%d", i)))
		tenants = append(tenants, w.In(namespaces[i]))
	}
	w.Start(namespaces...)
	w.Ready(w.Apply("before"))
	var chains []*chain
	// With 2 × harness.Workers workers, one namespace after the other gets half of what is left, and the last one the last.
	for i, share := range []int64{4, 2, 1, 1} {
		tenant := tenants[i]
		var names, machineIDs []string
		for n := range 4 {
			names = append(names, fmt.Sprintf("agent-%d", n))
			machineIDs = append(machineIDs, registration.DerivedMachineID(w.Settings.ClusterID, tenant.Namespace, names[n]))
		}
		c := newChain(t, machineIDs)
		chains = append(chains, c)
		tenant.Create(tenant.TokenSecret("calyptia-token", "a-token-of-the-tenant"))
		cp := tenant.NewCloudProject("calyptia")
		cp.Spec.URL, cp.Spec.ProjectID = c.URL, uuid.NewString()
		tenant.Create(cp)
		for _, name := range names {
			tenant.Apply(name)
		}
		w.Eventually(fmt.Sprintf("namespace %d has %d workers", i, share), func() error {
			if n := c.inProgress.Load(); n < share {
				return fmt.Errorf("%d requests are in progress, and the Agent is %s", n, harness.Describe(tenant.Get(names[0])))
			}
			return nil
		})
	}
	ended := func() (all int64) {
		for _, c := range chains {
			all += c.ended.Load()
		}
		return all
	}
	before, began := ended(), time.Now()
	w.Apply("victim")
	w.Eventually("the victim is Ready, or 400 requests ended", func() error {
		ready := harness.Condition(w.Get("victim"), v1alpha1.ConditionReady).Status == "True"
		if !ready && ended()-before < 400 {
			return fmt.Errorf("after %d requests it is %s", ended()-before, harness.Describe(w.Get("victim")))
		}
		return nil
	})
	if a := w.Get("victim"); harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
		t.Errorf("%s after the victim was created %d requests of the tenants ended, and it is %s",
			time.Since(began).Round(time.Second), ended()-before, harness.Describe(a))
	}
}
