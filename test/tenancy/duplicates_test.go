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
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A server of the tenant's own lists the victim's agent as a duplicate of the tenant's.
func TestProjectRef_DuplicateFromAnotherEndpoint_IsNotDeleted(t *testing.T) {
	for _, gone := range []bool{false, true} {
		for _, server := range services {
			t.Run(fmt.Sprint(server.name, gone), func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				w.Register("elsewhere", "machine-1")
				victim := w.Remote()[0]
				var machineID, madeAt atomic.Value
				machineID.Store("a-machine-of-the-liar") // Until it is registered.
				madeAt.Store(time.Now())
				own := uuid.NewString()
				liar := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					show := func(id string) map[string]any {
						return map[string]any{"id": id, "token": "a-token-of-the-liar-123456", "name": "thief", "machineID": machineID.Load(), "type": "fluentbit",
							"version": "v4.0.0", "edition": "community", "rawConfig": "[INPUT]\n    name dummy\n", "createdAt": madeAt.Load(), "environmentName": "default"}
					}
					status, body := http.StatusOK, any(map[string]string{"error": "agent not found"})
					switch {
					case strings.HasSuffix(r.URL.Path, uuid.Nil.String()):
						status = http.StatusNotFound
					case strings.Contains(r.URL.Path, "/projects/"):
						body = []any{show(own), show(victim.ID)}
					case r.Method == http.MethodPost:
						var sent struct{ MachineID string }
						_ = json.NewDecoder(r.Body).Decode(&sent)
						machineID.Store(sent.MachineID)
						madeAt.Store(time.Now())
						status, body = http.StatusCreated, show(own)
					case r.Method == http.MethodGet:
						body = show(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
					case r.Method == http.MethodDelete:
						status, body = 500, map[string]string{"error": "later"}
					}
					rw.WriteHeader(status)
					_ = json.NewEncoder(rw).Encode(body)
				}))
				t.Cleanup(liar.Close)
				tenant.Create(tenant.TokenSecret("calyptia-token", w.Cloud.AddProject(w.ProjectID[:35]+"0").Reveal()))
				cp := tenant.NewCloudProject("own")
				cp.Spec.URL = liar.URL
				tenant.Create(cp)
				tenant.Apply("thief", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"} })
				tenant.Ready("thief")
				w.Clock.Step(time.Minute)
				tenant.Poke("thief")
				tenant.Eventually("the victim's agent is recorded as a duplicate", func() error {
					if n := len(tenant.Get("thief").Status.DuplicatesToDelete); n != 1 {
						return fmt.Errorf("%d duplicates are recorded", n)
					}
					return nil
				})
				w.Cloud.ResetRequests()
				tenant.Change("thief", func(a *v1alpha1.Agent) {
					a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: w.Namespace}
				})
				if gone {
					tenant.Delete("thief")
				}
				reconciled(tenant, "thief")
				w.Unharmed([]cloud.Agent{victim})
			})
		}
	}
}
