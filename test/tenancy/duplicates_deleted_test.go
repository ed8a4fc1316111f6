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

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// withoutID makes an Agent of a tenant whose remote agent is missing and not registered again, and whose duplicate is not deleted
// yet. The operator is stopped then.
func withoutID(t *testing.T) (w, tenant *harness.World, duplicate string) {
	t.Helper()
	w, tenant = harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	a := tenant.Ready(w.Guest(tenant, "guest"))
	repair := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusInternalServerError})
	duplicate = w.Register("guest", a.Status.MachineID).ID
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
	w.Settings.ReadOnly = false
	repair()
	return w, tenant, duplicate
}

// A duplicate is the Agent's, although its remote agent is missing and its namespace has lost its permission.
func TestDelete_NoLongerAllowedWithoutID_DeletesTheDuplicate(t *testing.T) {
	t.Parallel()
	w, tenant, duplicate := withoutID(t)
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
	tenant.Delete("guest")
	w.Start(tenant.Namespace)
	tenant.Gone("guest")
	if _, there := w.Cloud.Agent(duplicate); there {
		t.Error("its duplicate was left behind")
	}
}

// Another project does not have the duplicate. That does not show that it is deleted.
func TestDelete_WithoutIDAtAnotherProject_DoesNotForgetTheDuplicate(t *testing.T) {
	t.Parallel()
	w, tenant, duplicate := withoutID(t)
	tenant.Create(tenant.TokenSecret("calyptia-token", w.Cloud.AddProject(uuid.NewString()).Reveal()))
	tenant.Create(tenant.CloudProject("own", w.HTTP.URL))
	ref := tenant.Get("guest").Spec.ProjectRef
	tenant.Change("guest", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "own"} })
	tenant.Delete("guest")
	w.Start(tenant.Namespace)
	tenant.NotReady("guest", v1alpha1.ReasonRemoteNotFound, duplicate, v1alpha1.AnnotationOrphan)
	tenant.Change("guest", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = ref })
	tenant.Gone("guest")
	if _, there := w.Cloud.Agent(duplicate); there {
		t.Error("its duplicate was left behind")
	}
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
