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
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The remote agent of an Agent is missing and was not registered again, and its duplicate was not deleted yet. The duplicate is
// still the Agent's, also after its namespace has lost its permission.
func TestDelete_NoLongerAllowedWithoutID_DeletesTheDuplicate(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.Ready(w.Apply("owned"))
	before := w.Remote()
	a := tenant.Ready(w.Guest(tenant, "guest"))
	repair := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusInternalServerError})
	duplicate := w.Register("guest", a.Status.MachineID).ID
	w.Clock.Step(time.Minute)
	tenant.Poke("guest")
	tenant.Eventually("the duplicate is recorded", func() error {
		if got := tenant.Get("guest").Status.DuplicatesToDelete; !slices.Equal(got, []string{duplicate}) {
			return fmt.Errorf("recorded are %v", got)
		}
		return nil
	})
	w.Stop()
	w.Cloud.Remove(a.Status.ID)
	w.Settings.ReadOnly = true
	w.Start(tenant.Namespace)
	tenant.Poke("guest")
	tenant.Eventually("the remote agent is missing", func() error {
		if got := tenant.Get("guest"); got.Status.ID != "" {
			return fmt.Errorf("it is %s", harness.Describe(got))
		}
		return nil
	})
	w.Stop()
	repair()
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	tenant.Delete("guest")
	w.Settings.ReadOnly = false
	w.Start(tenant.Namespace)
	tenant.Gone("guest")
	if _, there := w.Cloud.Agent(duplicate); there {
		t.Error("its duplicate was left behind")
	}
	w.Unharmed(before)
}

// The response to a registration is lost, the project token is replaced, and the namespace loses its permission: the intent is no
// evidence any more. The deletion says what it may leave behind.
func TestDelete_NoLongerAllowedInDoubtWithAnotherToken_SaysWhatMayBeLeft(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
	w.Guest(tenant, "guest")
	tenant.NotReady("guest", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Stop()
	const next = "another-token-of-the-project-0123456789"
	w.Cloud.AddToken(w.ProjectID, next)
	w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: next})
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces, cp.Spec.ProjectID = nil, w.ProjectID })
	tenant.Delete("guest")
	w.Start(tenant.Namespace)
	tenant.Gone("guest")
	if events := tenant.Events("guest", 1); !slices.Contains(events, "MaybeOrphaned") {
		t.Errorf("%d remote agents are left, and the events are %v", len(w.Remote()), events)
	}
}
