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

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A filter withholds what an agent holds, and so the lists that the registrations of all teams need. Its Agent is deleted, also after a restart:
// that the recorded agent is its own was shown before, and a deletion needs no body.
func TestFilter_TheBlockedAgentIsDeleted(t *testing.T) {
	for _, status := range []int{dropped, http.StatusOK, http.StatusForbidden, http.StatusNotFound, http.StatusInternalServerError} {
		for _, restarted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, restarted %t", status, restarted), func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) { behindFilter(w, cp, status) })
				w.Ready(w.Apply("own"))
				id := tenant.Ready(w.Guest(tenant, "blocked", machine("machine-blocked"))).Status.ID
				tenant.Check("blocked")
				block(w, tenant, "blocked")
				if restarted {
					w.Stop()
					w.Start(tenant.Namespace)
				}
				checked(w)
				tenant.Delete("blocked")
				w.Eventually("the remote agent is deleted", func() error {
					if _, there := w.Cloud.Agent(id); there {
						return errors.New(harness.Describe(tenant.Get("blocked")))
					}
					return nil
				})
				tenant.Gone("blocked")
			})
		}
	}
}

// One that was shown to be another's is not deleted when the filter withholds it then, also not after a restart.
func TestFilter_ABlockedAgentOfAnotherIsNotDeleted(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		behindFilter(w, cp, http.StatusForbidden)
	})
	w.Ready(w.Apply("own"))
	id := tenant.Ready(w.Guest(tenant, "blocked", machine("machine-blocked"))).Status.ID
	tenant.Check("blocked")
	w.Stop()
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.MachineID = "machine-of-another" })
	tenant.Delete("blocked")
	w.Start(tenant.Namespace)
	tenant.Stalled("blocked", v1alpha1.ReasonRemoteMismatch, "not deleted")
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = blockedText })
	for range 3 {
		w.Stop()
		w.Start(tenant.Namespace)
		for range 2 {
			w.Cloud.ResetRequests()
			tenant.Poke("blocked")
			w.Eventually("it is read", func() error {
				if w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent) == 0 {
					return errors.New(harness.Describe(tenant.Get("blocked")))
				}
				return nil
			})
			w.Clock.Step(w.Settings.GoneDelay)
		}
		tenant.Stalled("blocked", v1alpha1.ReasonRemoteMismatch, "cannot be read now")
	}
	if _, there := w.Cloud.Agent(id); !there {
		t.Error("it was deleted")
	}
}

// That the spec names another agent is another mismatch: it does not keep the deletion.
func TestFilter_TheBlockedAgentIsDeleted_AfterAnotherMismatch(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		behindFilter(w, cp, http.StatusForbidden)
		cp.Spec.Adoption = v1alpha1.AdoptionAllowed
	})
	w.Ready(w.Apply("own"))
	tenant.Ready(w.Guest(tenant, "blocked", machine("machine-blocked")))
	tenant.Check("blocked")
	tenant.Change("blocked", func(a *v1alpha1.Agent) { a.Spec.AgentID = uuid.NewString() })
	tenant.Stalled("blocked", v1alpha1.ReasonRemoteMismatch)
	block(w, tenant, "blocked")
	w.Stop()
	w.Start(tenant.Namespace)
	tenant.Delete("blocked")
	tenant.Gone("blocked")
	if n := len(w.Remote()); n != 1 {
		t.Errorf("%d agents are left, want the own one alone", n)
	}
}
