/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The owner names the token of a sandbox, whose Secret is missing, and permits adoption there. A tenant brings a record of a victim from its own server.
func TestVersions_RecordFromElsewhere_IsNoneForTheCopy(t *testing.T) {
	for name, gone := range map[string]bool{"moved": false, "deleted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			victim := recordedElsewhere(t, w, tenant, adopts)
			w.ChangeProject(func(cp *v1alpha1.CloudProject) {
				cp.Spec.TokenSecretRef.Name, cp.Spec.Adoption = "sandbox-token", v1alpha1.AdoptionAllowed
			})
			w.ProjectBecomes(metav1.ConditionFalse, "")
			w.Cloud.ResetRequests()
			tenant.Change("thief", func(a *v1alpha1.Agent) {
				a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: w.Namespace}
				a.Spec.Version, a.Spec.RawConfig = "v9.9.9", "[INPUT]\n    name thief\n"
			})
			if !gone {
				w.Eventually("the thief is judged", func() error {
					if a := tenant.Get("thief"); a.Status.ObservedGeneration != a.Generation {
						return errors.New(harness.Describe(a))
					}
					return nil
				})
				tenant.KeepsNothingOf("thief-token", victim)
				w.Unharmed([]cloud.Agent{victim})
			}
			tenant.Delete("thief")
			if gone {
				w.Eventually("the deletion is judged", func() error {
					a := tenant.Get("thief")
					if len(w.Remote()) == 0 {
						return nil
					}
					if c := harness.Condition(a, v1alpha1.ConditionReady); c.ObservedGeneration != a.Generation || c.Status != metav1.ConditionFalse {
						return errors.New(harness.Describe(a))
					}
					return nil
				})
			}
			tenant.KeepsNothingOf("thief-token", victim)
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// The owner names the reserved name of the operator's copy. The copy still serves: Agents can be deleted.
func TestVersions_TheSpecNamesTheCopy_AgentsAreDeleted(t *testing.T) {
	w, _ := harness.Shared(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.TokenSecretRef.Name = "calyptia-credentials" })
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSourceInvalid)
	w.Delete("web")
	w.Gone("web")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}
