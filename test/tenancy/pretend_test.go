/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The guest is allowed, and records an agent through a second CloudProject that it owns and that names the victim's project.
func TestProjectRef_AllowedAndRecordedThroughAProjectThatPretends_HarmsNothing(t *testing.T) {
	for _, how := range []string{"moves", "moves and is deleted", "claims an ID"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			const opaque = "an-opaque-token-of-the-tenant-0123456789"
			s := newScene(t)
			s.Cloud.AddToken("0b7e0000-0000-4000-8000-000000000001", opaque)
			s.own(s.guest, "pretends", func(cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = s.ProjectID })
			s.guest.SetSecret("token-of-pretends", map[string]string{v1alpha1.TokenKey: opaque})
			name := s.guest.Apply("web", in(s.guest.Namespace, "pretends"), machine("machine-of-the-victim"))
			s.guest.Ready(name) // Its own project reveals nothing of the victim's.
			s.Cloud.ResetRequests()
			s.guest.Change(name, in(s.Namespace, "calyptia"))
			switch how {
			case "moves and is deleted":
				s.guest.Delete(name)
			case "claims an ID":
				secret := s.guest.Secret("web-token")
				secret.Data[v1alpha1.IDKey] = []byte(s.victims[1].ID)
				s.try(s.guest.Client.Update(t.Context(), secret))
			}
			reconciled(s.guest, name)
			s.Unharmed(s.victims)
			s.noLoot()
			harmsNothing(s)
			for _, r := range s.Cloud.Requests() {
				if r.AgentID == s.victims[1].ID && how != "claims an ID" {
					t.Errorf("%s of the victim's agent", r.Method)
				}
			}
			if how == "moves" {
				if text := harness.Describe(s.guest.Get(name)); strings.Contains(text, s.Namespace+"/chosen") {
					t.Errorf("the victim's Agent is named: %s", text)
				}
			}
		})
	}
}
