/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant has another team's ID recorded through its own server, points projectRef at the shared CloudProject, and deletes its token
// Secret and the Agent, which retains. What restores such a Secret asks whose the remote agent is, too.
func TestProjectRef_RecordFromAnotherEndpoint_RetainedWithoutItsSecret_StoresNoToken(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(victim cloud.Agent) func(*v1alpha1.Agent)
	}{
		{"adopted there", func(victim cloud.Agent) func(*v1alpha1.Agent) {
			return func(a *v1alpha1.Agent) {
				a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: victim.ID}
			}
		}},
		{"registered there, and retained", func(victim cloud.Agent) func(*v1alpha1.Agent) {
			return func(a *v1alpha1.Agent) {
				a.Spec.MachineID, a.Spec.DeletionPolicy = victim.MachineID, v1alpha1.DeletionRetain
				a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
			}
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			victim := recordedElsewhere(t, w, tenant, row.change)
			tenant.Change("thief", func(a *v1alpha1.Agent) {
				a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: w.Namespace}
			})
			tenant.Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed) // As it should be.
			for _, name := range []string{"thief-token", "thief-session"} {
				if s := tenant.Secret(name); s != nil {
					if err := tenant.Client.Delete(context.Background(), s); err != nil {
						t.Fatal(err)
					}
				}
			}
			tenant.Delete("thief")
			tenant.Gone("thief")
			tenant.KeepsNothingOf("thief-token", victim)
			for _, name := range []string{"thief-token", "thief-session"} {
				if s := tenant.Secret(name); s != nil && strings.Contains(fmt.Sprintf("%s", s.Data), victim.Token.Reveal()) {
					t.Errorf("Secret %s of the tenant holds the token of the other team's agent", name)
				}
			}
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}
