/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// inDoubtAndRevoked has a guest with a registration in doubt, whose namespace the CloudProject allows no more. Then another cluster
// registers the machine ID that the guest chose. It returns the agents of the others.
func inDoubtAndRevoked(w, tenant *harness.World) []cloud.Agent {
	w.Helper()
	w.Ready(w.Apply("first"))
	refusesContent(w)
	w.Guest(tenant, "thief", machine("machine-1"), configured("# DROP TABLE one\n"))
	tenant.Stalled("thief", v1alpha1.ReasonInvalid, "something between the operator and the API")
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	w.PokeProject()
	w.ProjectHandled()
	tenant.Poke("thief")
	tenant.Stalled("thief", v1alpha1.ReasonProjectNotAllowed)
	elsewhere := w.Register("elsewhere", "machine-1")
	w.Cloud.Mutate(elsewhere.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(time.Hour) })
	return w.Remote()
}

// Where nothing is listed, only another request reveals what a registration in doubt created. A namespace that is not allowed any more
// causes none, whatever it writes: its body would be the tenant's, and its response another's agent.
func TestDelete_NotAllowedAnyMore_InDoubt_NoList_RegistersNothing(t *testing.T) {
	for name, policy := range map[string]cloudtest.MachineIDPolicy{
		"conflict": cloudtest.MachineIDConflict, "double": cloudtest.MachineIDDouble, "upsert": cloudtest.MachineIDUpsert,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: policy})
			others := inDoubtAndRevoked(w, tenant)
			w.Clock.Step(w.Settings.Slack)
			w.Cloud.ResetRequests()
			tenant.Change("thief", configured("# written after the permission ended\n"))
			tenant.Delete("thief")
			tenant.Gone("thief")
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
				t.Errorf("%d registrations for a namespace that is not allowed", n)
			}
			w.Unharmed(others)
			tenant.Eventually("the event", func() error {
				if events := tenant.Events("thief", 1); !slices.Contains(events, remoteagent.MaybeOrphaned.Reason) {
					return fmt.Errorf("there are %v", events)
				}
				return nil
			})
		})
	}
}

// The permission to adopt ends with that to use the CloudProject.
func TestDelete_NotAllowedAnyMore_InDoubt_AdoptsNothing(t *testing.T) {
	for name, policy := range map[string]cloudtest.MachineIDPolicy{
		"conflict": cloudtest.MachineIDConflict, "double": cloudtest.MachineIDDouble,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: policy}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption = v1alpha1.AdoptionAllowed
			})
			others := inDoubtAndRevoked(w, tenant)
			w.Clock.Step(w.Settings.Slack)
			tenant.Delete("thief")
			tenant.Gone("thief")
			w.Unharmed(others)
		})
	}
}

// The permission to adopt is for those whom the CloudProject allows: a namespace that another CloudProject of the project allows has none.
func TestDelete_AllowedByAnotherCloudProjectAlone_InDoubt_AdoptsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	internal := w.NewCloudProject("internal")
	internal.Spec.Adoption = v1alpha1.AdoptionAllowed
	w.Create(internal)
	w.Ready(w.Apply("first", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = internal.Name }))
	refusesContent(w)
	w.Guest(tenant, "thief", machine("machine-1"), configured("# DROP TABLE one\n"))
	tenant.Stalled("thief", v1alpha1.ReasonInvalid, "something between the operator and the API")
	elsewhere := w.Register("elsewhere", "machine-1")
	w.Cloud.Mutate(elsewhere.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(time.Hour) })
	others := w.Remote()
	tenant.Change("thief", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = internal.Name })
	tenant.Stalled("thief", v1alpha1.ReasonProjectNotAllowed)
	w.Clock.Step(w.Settings.Slack)
	tenant.Delete("thief")
	tenant.Gone("thief")
	w.Unharmed(others)
}

// The API refuses the deletion of an Agent whose namespace is not allowed any more: what the namespace writes then causes no requests, but it
// may still leave the agent.
func TestRevoked_ADeletionIsRefused_WhatTheNamespaceWritesAsksForNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "guest"))
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	tenant.Poke("guest")
	tenant.Stalled("guest", v1alpha1.ReasonProjectNotAllowed)
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`,
	})
	tenant.Delete("guest")
	tenant.NotReady("guest", v1alpha1.ReasonForbidden)
	w.Cloud.ResetRequests()
	for i := range 20 {
		tenant.Change("guest", func(a *v1alpha1.Agent) { a.Spec.Version = fmt.Sprint("v4.0.", i) })
		tenant.Poke("guest")
		w.Ready(w.Apply(fmt.Sprint("own-", i))) // What was written before is handled by then.
	}
	if n := w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent); n > 5 {
		t.Errorf("%d deletions were sent", n)
	}
	tenant.Change("guest", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	tenant.Gone("guest")
}
