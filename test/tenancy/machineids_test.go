/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// elsewhere creates a CloudProject of a tenant at the same URL: its token is of the tenant's own project.
func elsewhere(w, tenant *harness.World, token string) {
	w.Helper()
	w.Cloud.AddToken("0b7e0000-0000-4000-8000-0000000000aa", token)
	tenant.Create(tenant.TokenSecret("own-token", token))
	cp := tenant.NewCloudProject("own")
	cp.Spec.TokenSecretRef.Name = "own-token"
	tenant.Create(cp)
}

// An Agent that registered in its own project refers to the victim's CloudProject afterwards. Neither token reveals its
// project, so both endpoints look alike.
func TestMachineID_RecordedInAnotherProject_IsNotTakenInTheVictims(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.Cloud.AddToken(s.ProjectID, "opaque-token-of-the-victim")
	s.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: "opaque-token-of-the-victim"})
	s.Token = cloud.NewToken("opaque-token-of-the-victim")
	elsewhere(s.World, s.stranger, "opaque-token-of-the-stranger")
	s.stranger.Ready(s.stranger.Apply("squatter", machine("machine-1"), in(s.stranger.Namespace, "own")))
	s.stranger.Change("squatter", in(s.Namespace, "calyptia"))
	s.stranger.Stalled("squatter", v1alpha1.ReasonProjectNotAllowed)
	s.Ready(s.Apply("web", machine("machine-1")))
}

// An Agent in another project chose the machine ID that is derived for the victim's. The API does not let the victim read
// that agent.
func TestMachineID_DerivedOneChosenInAnotherProject_DoesNotDelayTheVictim(t *testing.T) {
	for name, refusal := range map[string]cloudtest.Fault{
		"forbidden": {Status: http.StatusForbidden, Body: `{"error":"permission denied"}`},
		"not found": {Status: http.StatusNotFound, Body: `{"error":"not found"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true}, harness.Idle)
			stranger := w.In(w.AddNamespace("stranger"))
			w.Start(stranger.Namespace)
			elsewhere(w, stranger, "opaque-token-of-the-stranger")
			derived := registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web")
			id := stranger.Ready(stranger.Apply("squatter", machine(derived), in(stranger.Namespace, "own"))).Status.ID
			refusal.Match = func(r *http.Request) bool {
				return strings.HasSuffix(r.URL.Path, id) && strings.Contains(fmt.Sprint(r.Header), w.Token.Reveal())
			}
			w.Cloud.Inject(refusal)
			w.Ready(w.Apply("web"))
		})
	}
}

// An Agent that never registered keeps no machine ID from others once it may not use the CloudProject.
func TestMachineID_WantedByOneWhoMayNotRegister_IsFree(t *testing.T) {
	for name, leave := range map[string]func(*scene){
		"no longer allowed": func(s *scene) {
			s.World.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
			s.guest.Stalled("squatter", v1alpha1.ReasonProjectNotAllowed)
		},
		"another CloudProject": func(s *scene) {
			s.guest.Change("squatter", in(s.guest.Namespace, "nowhere"))
			s.guest.NotReady("squatter", v1alpha1.ReasonProjectNotFound)
		},
		"moved to another project": func(s *scene) {
			elsewhere(s.World, s.guest, "opaque-token-of-the-guest")
			s.guest.Change("squatter", in(s.guest.Namespace, "own"))
			s.guest.Stalled("squatter", v1alpha1.ReasonSecretConflict, "squatter-token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.guest.Create(s.guest.TokenSecret("squatter-token", "x"))
			s.Guest(s.guest, "squatter", machine("machine-1"))
			s.guest.Stalled("squatter", v1alpha1.ReasonSecretConflict)
			leave(s)
			s.Ready(s.Apply("web", machine("machine-1")))
		})
	}
}

// An API that responds to a taken machine ID with the agent that has it. It was taken after the list that the registration waited for.
func TestMachineID_TakenSinceTheSnapshot_IsNotAdopted(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.Slack = time.Minute
	})
	made := w.Register("elsewhere", "another-machine")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-10 * time.Second) })
	victim, _ := w.Cloud.Agent(made.ID)
	takesMeanwhile(w, tenant, victim, cloudtest.Fault{})
	tenant.ReadyOrStalled("thief")
	tenant.KeepsNothingOf("thief-token", victim)
	tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
	tenant.Delete("thief")
	tenant.Gone("thief")
	if _, there := w.Cloud.Agent(made.ID); !there {
		t.Error("the victim's agent was deleted")
	}
}
