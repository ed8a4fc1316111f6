/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const blockPage = "<html><body>Request blockPage</body></html>"

// A filter of responses writes its own 4xx over the response to a registration that took effect. It is no evidence of a failure.
func TestRegister_ResponseReplacedByAFilter_ExactlyOne(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound, http.StatusConflict,
		http.StatusRequestEntityTooLarge, http.StatusUnavailableForLegalReasons} {
		for _, body := range []string{blockPage, ""} {
			for _, server := range services[:2] {
				t.Run(fmt.Sprintf("%d/%d bytes/%s", status, len(body), server.name), func(t *testing.T) {
					t.Parallel()
					w := harness.New(t, server.settings)
					w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: status, Body: body, After: true})
					w.Ready(w.Apply("web"))
					w.One("web")
					w.Ready(w.Apply("chosen", machine("machine-1")))
					if n := len(w.Remote()); n != 2 {
						t.Errorf("the cloud has %d agents for two Agents", n)
					}
				})
			}
		}
	}
}

// Without a list, each registration whose response is replaced may leave an agent, so retries are few and far apart.
func TestRegister_ResponseReplacedByAFilter_NoList_StallsWithoutDuplicates(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusForbidden, Body: blockPage, After: true,
	})
	w.Apply("web")
	w.Stalled("web", v1alpha1.ReasonInvalid, "something between the operator and the API", "403")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d agents, want the first and one more try after the slack", n)
	}
}

// A configuration that a filter refuses stalls its Agent and no other.
func TestUpdate_ConfigurationRefusedByAFilter_StallsOnlyThatAgent(t *testing.T) {
	for _, row := range []struct {
		status, updates int
	}{
		{http.StatusForbidden, 2},
		{http.StatusRequestEntityTooLarge, 1},
		{http.StatusBadRequest, 2},
	} {
		t.Run(http.StatusText(row.status), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			w.Ready(w.Apply("bad"))
			w.Ready(w.Apply("good"))
			const marker = "attack-signature"
			refused := func(r *http.Request) bool {
				body, err := io.ReadAll(r.Body)
				return err == nil && bytes.Contains(body, []byte(marker))
			}
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Match: refused, Status: row.status, Body: blockPage})
			w.Cloud.ResetRequests()
			w.Change("bad", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# " + marker })
			w.Stalled("bad", v1alpha1.ReasonInvalid, "something between the operator and the API", fmt.Sprint(row.status), "configuration")
			if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != row.updates {
				t.Errorf("%d updates before it stalled, want %d", n, row.updates)
			}
			for range 6 { // As many failures as would open the circuit breaker.
				w.Poke("bad")
				handled(w, "bad")
			}
			w.Change("good", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			w.Ready("good")
			w.Change("bad", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# harmless" })
			w.Ready("bad")
		})
	}
}

// One response of a proxy that asks to wait an hour, with a status with which the API never does, delays neither a change nor a deletion.
func TestRetryAfter_OfAProxy_DelaysNothing(t *testing.T) {
	for _, row := range []struct {
		name, method string
		status       int
	}{
		{"a change is redirected", http.MethodPatch, http.StatusFound},
		{"a change is not found", http.MethodPatch, http.StatusNotFound},
		{"a change is forbidden", http.MethodPatch, http.StatusForbidden},
		{"a deletion is not found", http.MethodDelete, http.StatusNotFound},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, hostileSettings)
			w.Ready(w.Apply("web"))
			w.Cloud.Inject(cloudtest.Fault{
				Method: row.method, Route: cloudtest.RouteAgent, Times: 1, Status: row.status, Body: "<html>try later</html>",
				Header: http.Header{"Content-Type": {"text/html"}, "Retry-After": {"3600"}},
			})
			if row.method == http.MethodDelete {
				w.Delete("web")
				w.Gone("web")
				return
			}
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			if remote, _ := w.Cloud.Agent(w.Ready("web").Status.ID); remote.Version != "v4.1.0" {
				t.Errorf("the change is not applied: %s", remote.Version)
			}
		})
	}
}
