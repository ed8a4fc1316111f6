/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// forms are two tokens of one project, of which one contains the project; opaque: not the one that comes after.
func forms(w *harness.World, opaque bool) (before, after string, use func(token string)) {
	const other = "an-opaque-token-of-the-same-project"
	w.Cloud.AddToken(w.ProjectID, other)
	before, after = w.Token.Reveal(), other
	if !opaque {
		before, after = after, before
	}
	return before, after, func(token string) {
		w.Helper()
		w.SetSecret("calyptia-token", map[string]string{"token": token})
		w.Eventually("the token is in use", func() error {
			cp := w.Project()
			if !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) || (cp.Status.ProjectID == "") != (token == other) {
				return fmt.Errorf("%+v", cp.Status)
			}
			return nil
		})
	}
}

// With OnChange, what somebody changed stays also if the token is replaced then by one of the same project in the other form.
func TestTokenOfTheOtherForm_OnChange_WhatSomebodyChangedStays(t *testing.T) {
	for form, opaque := range map[string]bool{"to opaque": true, "to one with the project": false} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			before, after, use := forms(w, opaque)
			use(before)
			id := w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncOnChange })).Status.ID
			w.Check("web")
			const changed = "# by somebody\n"
			w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = changed })
			use(after)
			w.Check("web")
			w.Ready("web")
			if got, _ := w.Cloud.Agent(id); got.RawConfig != changed {
				t.Errorf("overwritten with %q; %s", got.RawConfig, harness.Describe(w.Get("web")))
			}
		})
	}
}

// The token of a shared CloudProject is replaced by one of the same project that contains its project, where the former did not, or the
// other way round. The Agents of guests are not affected, also those that chose a machine ID.
func TestTokenOfTheOtherForm_OfTheSameProject_BlocksNoGuest(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.Agent){"derived": func(*v1alpha1.Agent) {}, "chosen": machine("machine-1")} {
		for form, opaque := range map[string]bool{"to an opaque token": true, "to one with its project": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, cloudtest.Settings{})
				before, after, use := forms(w, opaque)
				use(before)
				w.Guest(tenant, "web", change)
				id := tenant.Ready("web").Status.ID
				use(after)
				tenant.Check("web")
				if a := tenant.ReadyOrStalled("web"); a.Status.ID != id || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
					t.Errorf("the guest's Agent is %s", harness.Describe(a))
				}
				use(before) // And back, seen by its deletion alone.
				tenant.Delete("web")
				tenant.Gone("web")
				if left := w.Remote(); len(left) > 0 {
					t.Errorf("%d remote agents are left", len(left))
				}
			})
		}
	}
}

// An Agent that no check saw since then is deleted, and the response to its deletion is lost: a read showed the agent before.
func TestTokenOfTheOtherForm_LostResponseToADeletion_Ends(t *testing.T) {
	for form, opaque := range map[string]bool{"to an opaque token": true, "to one with its project": false} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			before, after, use := forms(w, opaque)
			use(before)
			w.Ready(w.Apply("web"))
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
			w.Becomes("web", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
			use(after)
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Times: 1, Cut: cloudtest.CutAfter})
			w.Delete("web")
			w.Gone("web")
			if left := w.Remote(); len(left) > 0 {
				t.Errorf("%d remote agents are left", len(left))
			}
		})
	}
}
