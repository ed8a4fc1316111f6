/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// updateAsAgent sends updates with the token from the agent's Secret, as whoever may read that can.
func updateAsAgent(w, tenant *harness.World, name string, bodies ...string) {
	w.Helper()
	secret := tenant.Secret(name + "-token")
	for _, body := range bodies {
		url := w.HTTP.URL + "/v1/agents/" + string(secret.Data[v1alpha1.IDKey])
		request, err := http.NewRequestWithContext(w.Context(), http.MethodPatch, url, strings.NewReader(body))
		if err != nil {
			w.Fatal(err)
		}
		request.Header.Set("X-Agent-Token", string(secret.Data[v1alpha1.TokenKey]))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.Fatal(err)
		}
		if _ = response.Body.Close(); response.StatusCode != http.StatusNoContent {
			w.Fatalf("PATCH: %s", response.Status)
		}
	}
}

// fillAgent has the agent of a tenant hold, in each member that it may write, more than can be declared, and in no long text. Each
// update is smaller than the largest response that is read, and all together are larger.
func fillAgent(w, tenant *harness.World, name string) {
	w.Helper()
	const size = 7 << 20
	updateAsAgent(w, tenant, name,
		`{"metadata":{"a":[`+strings.Repeat("1,", size/2)+`1]}}`, `{"flags":[`+strings.Repeat(`"a",`, size/4)+`"a"]}`)
}

// After a restart the credentials are verified, other teams are served, and the tenant can delete its Agent.
func TestRestart_AgentWithLargeContent_OthersAreServed(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("before"))
	tenant.Ready(w.Guest(tenant, "large"))
	fillAgent(w, tenant, "large")
	w.Stop()
	w.Start(tenant.Namespace)
	w.Ready(w.Apply("after"))
	w.Delete("before")
	w.Gone("before")
	tenant.Delete("large")
	tenant.Gone("large")
}

// One resync interval later the changes of other teams are applied, and the large content is replaced.
func TestCheck_AgentWithLargeContent_OthersAreServed(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("before"))
	tenant.Ready(w.Guest(tenant, "large", func(a *v1alpha1.Agent) { a.Spec.Flags = []string{"--verbose"} }))
	w.Check("before")
	fillAgent(w, tenant, "large")
	w.Clock.Step(25 * time.Minute)
	w.Change("before", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Ready("before")
	tenant.Check("large")
	tenant.Ready("large")
	if remote, _ := w.Cloud.Agent(tenant.Get("large").Status.ID); len(remote.Flags) != 1 {
		t.Errorf("the agent still has %d flags", len(remote.Flags))
	}
}
