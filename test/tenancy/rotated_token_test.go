/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The token of a shared CloudProject is replaced by one of the same project that contains its project, where the former did not, or the
// other way round. The Agents of guests are not affected, also those that chose a machine ID.
func TestTokenOfTheOtherForm_OfTheSameProject_BlocksNoGuest(t *testing.T) {
	for name, change := range map[string]func(*v1alpha1.Agent){"derived": func(*v1alpha1.Agent) {}, "chosen": machine("machine-1")} {
		for form, opaque := range map[string]bool{"to an opaque token": true, "to one with its project": false} {
			t.Run(name+"/"+form, func(t *testing.T) {
				t.Parallel()
				const other = "an-opaque-token-of-the-same-project"
				w, tenant := harness.Shared(t, cloudtest.Settings{})
				w.Cloud.AddToken(w.ProjectID, other)
				revealing := w.Token.Reveal()
				use := func(token string) {
					w.SetSecret("calyptia-token", map[string]string{"token": token})
					w.Eventually("the token is in use", func() error {
						cp := w.Project()
						if !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) || (cp.Status.ProjectID == "") != (token == other) {
							return fmt.Errorf("%+v", cp.Status)
						}
						return nil
					})
				}
				before, after := revealing, other
				if !opaque {
					before, after = other, revealing
				}
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
