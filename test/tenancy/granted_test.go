/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// The documented limit: the operator believes the status, which no role for people lets anybody write. Whoever is
// granted agents/status all the same can claim an agent of another cluster in the same project. What an Agent of this
// cluster has stays its own even then. If this test fails because nothing is lost any more, take the warning out of
// docs/security.md and docs/multi-tenancy.md.
func TestStatus_GrantedToATenant(t *testing.T) {
	t.Parallel()
	s := newScene(t)
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
		t.Error("the agent of another cluster is there: the limit is no more")
	}
}
