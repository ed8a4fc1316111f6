/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// As TestMachineID_TakenSinceTheSnapshot_IsNotAdopted: the API lists, and responds to a taken machine ID with the agent that has it.
// But its response does not show when that agent was created, or by a clock that is ahead.
func TestMachineID_TakenSinceTheSnapshot_TimeOfTheResponseIsOdd_IsNotAdopted(t *testing.T) {
	for name, created := range map[string]func(time.Time) string{
		"absent":       func(time.Time) string { return "" },
		"not RFC 3339": func(at time.Time) string { return fmt.Sprintf(`"createdAt":%q,`, at.Format(time.DateTime)) },
		"null":         func(time.Time) string { return `"createdAt":null,` },
		"a clock ahead": func(at time.Time) string {
			return fmt.Sprintf(`"createdAt":%q,`, at.Add(5*time.Minute).Format(time.RFC3339))
		},
		"a number":        func(at time.Time) string { return fmt.Sprintf(`"createdAt":%d,`, at.Unix()) },
		"as it should be": func(at time.Time) string { return fmt.Sprintf(`"createdAt":%q,`, at.Format(time.RFC3339)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.Slack = time.Minute
			})
			made := w.Register("elsewhere", "another-machine")
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-90 * time.Second) })
			victim, _ := w.Cloud.Agent(made.ID)
			takesMeanwhile(w, tenant, victim, cloudtest.Fault{
				Status: http.StatusCreated, After: true, Header: http.Header{"Content-Type": {"application/json"}},
				Body: fmt.Sprintf(`{"id":%q,"token":%q,%s"name":"thief","environmentName":"default"}`,
					victim.ID, victim.Token.Reveal(), created(victim.CreatedAt)),
			})
			tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
			tenant.KeepsNothingOf("thief-token", victim)
			tenant.Delete("thief")
			tenant.Gone("thief")
			if _, there := w.Cloud.Agent(made.ID); !there {
				t.Error("the victim's agent was deleted")
			}
		})
	}
}
