/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A namespace that may adopt agents writes the ID of another Agent's agent into the Secret of an older Agent with the same machine ID.
// Of two Agents that record one agent the older owns it: so it must not be recorded.
func TestYield_ToTheAgentOfAnotherTeam_IsRefused(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble},
		func(_ *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
	thief := tenant.Ready(w.Guest(tenant, "thief", func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-of-both" }))
	victim, _ := w.Cloud.Agent(w.Register("theirs", "machine-of-both").ID)
	w.Eventually("a later second", func() error { // Creation times are whole seconds; within one, it is random who is older.
		if !time.Now().After(thief.CreationTimestamp.Add(time.Second)) {
			return fmt.Errorf("the thief was created at %s", thief.CreationTimestamp)
		}
		return nil
	})
	w.Ready(w.Apply("victim", func(a *v1alpha1.Agent) { a.Spec.AgentID = victim.ID }))
	secret := tenant.Secret("thief-token")
	secret.Data[v1alpha1.IDKey] = []byte(victim.ID)
	if err := tenant.Client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	tenant.Eventually("the Secret is corrected", func() error {
		if id := string(tenant.Secret("thief-token").Data[v1alpha1.IDKey]); id != thief.Status.ID {
			return fmt.Errorf("it has %s, want %s", id, thief.Status.ID)
		}
		return nil
	})
	w.Poke("victim")
	w.Eventually("the victim is checked", func() error {
		if a := w.Get("victim"); a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return fmt.Errorf("it is %s", harness.Describe(a))
		}
		return nil
	})
	w.Ready("victim")
	tenant.KeepsNothingOf("thief-token", victim)
	if got := tenant.Get("thief").Status.ID; got != thief.Status.ID {
		t.Errorf("the thief has %s, want %s", got, thief.Status.ID)
	}
}
