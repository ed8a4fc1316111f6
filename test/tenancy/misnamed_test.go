/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The response to a guest's registration names the agent of another team. Once two reads show that, the guest looks for its own, which needs
// a list. Meanwhile the other team's Agent is created again, as from a backup: the list that the operator has shows its remote agent.
func TestRestore_WhileAnotherTeamLooksForWhatAResponseMisnamed_ExactlyOne(t *testing.T) {
	for name, wrong := range map[string]bool{"right response": false, "wrong response": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
				func(w *harness.World, cp *v1alpha1.CloudProject) {
					w.CloudTimeout = 15 * time.Second
					cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
				})
			tenant := w.In(w.AddNamespace("tenant"))
			made := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
			victim, _ := w.Cloud.Agent(made.ID)
			w.Start(tenant.Namespace)
			tenant.Ready(w.Guest(tenant, "first")) // There is a list now, which shows the victim's agent.
			if wrong {
				w.Cloud.Inject(cloudtest.Fault{
					Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
					Header: http.Header{"Content-Type": {"application/json"}},
					Body: fmt.Sprintf(`{"id":%q,"token":"a-token-of-agent","name":"guest","createdAt":%q,"environmentName":"default"}`,
						victim.ID, time.Now().UTC().Format(time.RFC3339Nano)),
				})
			}
			w.Guest(tenant, "guest")
			if wrong {
				tenant.Eventually("the guest records what the response named", func() error {
					if a := tenant.Get("guest"); a.Status.ID != victim.ID {
						return errors.New(harness.Describe(a))
					}
					return nil
				})
			}
			// The next list takes some seconds.
			listing := make(chan struct{}, 100)
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Latency: 8 * time.Second, Entered: listing})
			tenant.Poke("guest")
			if wrong {
				select {
				case <-listing:
				case <-time.After(20 * time.Second):
					t.Fatal("nothing is listed")
				}
			}
			w.Apply("web")
			a := w.Ready("web")
			if a.Status.ID != victim.ID {
				t.Errorf("the restored Agent has %s instead of its remote agent %s: there are %d agents", a.Status.ID, victim.ID, len(w.Remote()))
			}
		})
	}
}
