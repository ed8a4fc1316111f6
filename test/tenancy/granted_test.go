/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The documented limit: the operator believes the status, which no user role may write. A user who is granted
// agents/status anyway can claim an agent of another cluster in the same project, but none that an Agent of this
// cluster has. If this test fails because nothing is lost any more, remove the warning from docs/security.md and
// docs/multi-tenancy.md.
func TestStatus_GrantedToATenant(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	older(s.World, "chosen")
	for i, victim := range s.victims {
		name := s.Guest(s.guest, s.name("forged-%d", i), func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
		a := s.guest.Get(name)
		base := a.DeepCopy()
		a.Status.ID, a.Status.MachineID, a.Status.Origin = victim.ID, victim.MachineID, v1alpha1.OriginRegistered
		a.Status.URL, a.Status.ProjectID = s.HTTP.URL, s.ProjectID
		s.try(s.guest.Client.Status().Patch(t.Context(), a, client.MergeFrom(base)))
		s.guest.Change(name, finalized)
		ends(s.guest, name)
	}
	s.Unharmed(s.victims[:2])
	harmsNothing(s)
	if _, there := s.Cloud.Agent(s.victims[2].ID); there {
		t.Error("the agent of another cluster still exists: the documented limit is gone")
	}
}

// older waits until an Agent is older than whatever is created next: of two Agents that record one agent the older owns it. Creation
// times are whole seconds; within one, it is random.
func older(w *harness.World, name string) {
	w.Helper()
	created := w.Get(name).CreationTimestamp
	w.Eventually("a later second", func() error {
		if !time.Now().After(created.Add(time.Second)) {
			return fmt.Errorf("it is %s, and Agent %s was created at %s", time.Now(), name, created)
		}
		return nil
	})
}

// A retained Agent shows the token of its remote agent once more, for a Secret that was deleted: not that of an agent that another Agent has.
func TestStatus_GrantedToATenant_ShowsNoTokenOfAnotherAgent(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	victim, _ := w.Cloud.Agent(w.Ready(w.Apply("victim")).Status.ID)
	tenant.Ready(w.Guest(tenant, "thief"))
	tenant.Change("thief", func(a *v1alpha1.Agent) { a.Spec.Suspend, a.Spec.DeletionPolicy = true, v1alpha1.DeletionRetain })
	tenant.Eventually("it is suspended", func() error { tenant.Check("thief"); return nil })
	a := tenant.Get("thief")
	base := a.DeepCopy()
	a.Status.ID, a.Status.MachineID, a.Status.RegistrationIntent = victim.ID, victim.MachineID, ""
	if err := tenant.Client.Status().Patch(t.Context(), a, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	if err := tenant.Client.Delete(t.Context(), tenant.Secret("thief-token")); err != nil {
		t.Fatal(err)
	}
	tenant.Delete("thief")
	tenant.Gone("thief")
	tenant.KeepsNothingOf("thief-token", victim)
	w.Unharmed([]cloud.Agent{victim})
}
