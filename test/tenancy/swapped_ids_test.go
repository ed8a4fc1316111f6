/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// writesWith returns what the operator writes in a namespace from now on, and that contains a text.
func writesWith(w *harness.World, namespace, text string) func() []string {
	var mu sync.Mutex
	var found []string
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Body == nil || r.Method == http.MethodGet || !strings.Contains(r.URL.Path, "/namespaces/"+namespace+"/") {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(text)) {
			mu.Lock()
			found = append(found, r.Method+" "+r.URL.Path+": "+string(body))
			mu.Unlock()
		}
		return send(r)
	})
	w.Cleanup(func() { w.API.Around(nil) })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return found
	}
}

// Something in between gives a guest the response to the registration of another team. Conditions show the ID of that agent only to a
// namespace that may adopt agents.
func TestRegister_ResponseOfAnotherTeam_ItsIDIsNotShownToAGuest(t *testing.T) {
	for name, row := range map[string]struct {
		response func(victim cloud.Agent) (string, time.Time)
		missing  bool // a gateway responds to the read that follows
	}{
		"as it was":                  {response: asItWas},
		"with the name of the guest": {response: func(cloud.Agent) (string, time.Time) { return "web", time.Now() }},
		"and it is not found":        {response: asItWas, missing: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			victim, _ := w.Cloud.Agent(w.Ready(w.Apply("victim")).Status.ID)
			written := writesWith(w, tenant.Namespace, victim.ID)
			as, at := row.response(victim)
			asJSON := http.Header{"Content-Type": {"application/json"}}
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated, Header: asJSON,
				Body: fmt.Sprintf(`{"id":%q,"token":%q,"name":%q,"createdAt":%q,"environmentName":"default"}`,
					victim.ID, victim.Token.Reveal(), as, at.UTC().Format(time.RFC3339)),
			})
			if row.missing {
				w.Cloud.Inject(cloudtest.Fault{
					Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Header: asJSON,
					Body: `{"error":"not found"}`,
				})
			}
			w.Guest(tenant, "web")
			if a := tenant.Ready("web"); a.Status.ID == victim.ID {
				t.Fatalf("the guest has the victim's agent: %s", harness.Describe(a))
			}
			for _, text := range written() {
				t.Errorf("the guest can read the ID of the victim's agent: %s", text)
			}
		})
	}
}

func asItWas(victim cloud.Agent) (string, time.Time) { return victim.Name, victim.CreatedAt }
