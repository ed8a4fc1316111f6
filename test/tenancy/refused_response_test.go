/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// masking is a server of the tenant that shows each agent that it is asked for, with a machine ID and a masked token.
func masking(t testing.TB, machineID string) (server *httptest.Server, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var ids []string
	server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		switch {
		case id == uuid.Nil.String(), strings.Contains(r.URL.Path, "/projects/"):
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":"agent not found"}`))
		case r.Method == http.MethodGet:
			mu.Lock()
			ids = append(ids, id)
			mu.Unlock()
			now := time.Now().UTC().Format(time.RFC3339Nano)
			_ = json.NewEncoder(rw).Encode(map[string]any{
				"id": id, "fleetID": nil, "token": "***", "name": "x", "machineID": machineID, "type": "fluentbit", "version": "v4.0.0",
				"edition": "community", "status": "healthy", "os": "linux", "arch": "x86_64", "flags": nil, "rawConfig": "x", "metadata": nil,
				"firstMetricsAddedAt": nil, "lastMetricsAddedAt": nil, "metricsCount": 0, "createdAt": now, "updatedAt": now,
				"environmentName": "default",
			})
		case r.Method == http.MethodPost:
			rw.WriteHeader(http.StatusServiceUnavailable)
		default:
			rw.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	return server, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return ids
	}
}

// The API lists, and responds to a taken machine ID with the agent that has it. The operator refuses the response, and the tenant has its
// Agent adopt that ID at a server that shows it with a masked token.
func TestResponse_Refused_ItsTokenIsInNoSecretAfterAMove(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.Slack = time.Minute
	})
	made := w.Register("elsewhere", "another-machine")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-90 * time.Second) })
	victim, _ := w.Cloud.Agent(made.ID)
	server, _ := masking(t, "machine-1")
	ownProject(tenant, server.URL)
	takesMeanwhile(w, tenant, victim, cloudtest.Fault{})
	tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict) // As it should be.
	tenant.KeepsNothingOf("thief-token", victim)
	tenant.Change("thief", func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
		a.Spec.AgentID = victim.ID
	})
	tenant.Stalled("thief", v1alpha1.ReasonTokenUnavailable)
	tenant.KeepsNothingOf("thief-token", victim)
}

// One response to a registration is another team's, which the operator finds out. While it looks for the Agent's agent, the tenant has the
// Agent registered at another server: it knows neither the ID nor the machine ID of the other team's agent.
func TestResponse_OfAnotherTeam_NeitherIDNorTokenReachTheTenantAfterAMove(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{
		"no list":                    {NoList: true},
		"a list that takes a moment": {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, settings, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.Slack = time.Minute
			})
			made := w.Register("elsewhere", "another-teams-machine")
			victim, _ := w.Cloud.Agent(made.ID)
			server, asked := masking(t, "machine-1")
			ownProject(tenant, server.URL)
			w.Ready(w.Apply("before"))
			as, at := asItWas(victim)
			entered, release := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
				Entered: entered, Block: release,
				Header: http.Header{"Content-Type": {"application/json"}},
				Body: fmt.Sprintf(`{"id":%q,"token":%q,"name":%q,"createdAt":%q,"environmentName":"default"}`,
					victim.ID, victim.Token.Reveal(), as, at.UTC().Format(time.RFC3339)),
			})
			w.Guest(tenant, "thief", machine("machine-1"))
			<-entered // After the list that it waits for.
			if !settings.NoList {
				w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Latency: 10 * time.Second})
			}
			close(release)
			tenant.NotReady("thief", v1alpha1.ReasonRegistrationOutcomeUnknown)
			tenant.Change("thief", func(a *v1alpha1.Agent) {
				a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"}
			})
			tenant.Eventually("the tenant's server has the next attempt", func() error {
				if text := harness.Describe(tenant.Get("thief")); !strings.Contains(text, "no response to the registration") {
					return errors.New(text)
				}
				return nil
			})
			tenant.KeepsNothingOf("thief-token", victim)
			for _, id := range asked() {
				if id == victim.ID {
					t.Errorf("the tenant's server was asked for the other team's agent, and so knows its ID")
					break
				}
			}
		})
	}
}
