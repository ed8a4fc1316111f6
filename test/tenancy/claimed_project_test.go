/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// A tenant's own CloudProject claims the victim's project in spec.projectID; its agents are in the tenant's own. Pointed at the shared
// CloudProject and checked, its Agents find that their agents are not there. That is no mass deletion in the victim's project: other
// teams register as before.
func TestProjectID_ClaimedByATenant_TripsNoSafeguardOfOthers(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, settings)
			w.Ready(w.Apply("before"))
			const token, many = "opaque-token-of-the-tenant", 12
			w.Cloud.AddToken("0b7e0000-0000-4000-8000-0000000000aa", token)
			tenant.Create(tenant.TokenSecret("calyptia-token", token))
			own := tenant.NewCloudProject("own")
			own.Spec.ProjectID = w.ProjectID // A claim.
			tenant.Create(own)
			for n := range many {
				tenant.Apply(fmt.Sprint("agent-", n), in(tenant.Namespace, "own"))
			}
			for n := range many {
				tenant.Ready(fmt.Sprint("agent-", n))
			}
			for n := range many {
				tenant.Change(fmt.Sprint("agent-", n), func(a *v1alpha1.Agent) {
					in(w.Namespace, "calyptia")(a)
					a.Annotations[v1alpha1.AnnotationReconcileAt] = "now"
				})
			}
			w.Eventually("each has an outcome", func() error {
				if meta.IsStatusConditionTrue(w.Project().Status.Conditions, v1alpha1.ConditionStalled) {
					return nil // Worse cannot come.
				}
				for n := range many {
					a := tenant.Get(fmt.Sprint("agent-", n))
					here := slices.ContainsFunc(w.Remote(), func(r cloud.Agent) bool { return r.ID == a.Status.ID })
					stalled := meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) // As its agent may be elsewhere.
					if !here && !stalled || a.Status.ObservedGeneration != a.Generation {
						return fmt.Errorf("agent-%d is %s", n, harness.Describe(a))
					}
				}
				return nil
			})
			w.Ready(w.Apply("victim"))
		})
	}
}

// A tenant's Agent adopts, through such a CloudProject, an agent of the tenant's project with the machine ID of the victim's, and then refers
// to the shared one, which has nothing of it. The victim's agent is lost, and is registered again.
func TestProjectID_ClaimedForAnAgentWithTheVictimsMachineID_BlocksNoRegistration(t *testing.T) {
	t.Parallel()
	const token, project = "opaque-token-of-the-tenant-0123", "0b7e0000-0000-4000-8000-0000000000ab"
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("chosen", machine("machine-of-the-victim"))).Status.ID
	w.Cloud.AddToken(project, token)
	decoy, err := objects.Register(t, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken(token)}, cloud.Registration{
		Name: "decoy", MachineID: "machine-of-the-victim", Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]\n    name dummy\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	tenant.Create(tenant.TokenSecret("calyptia-token", token))
	own := tenant.NewCloudProject("own")
	own.Spec.ProjectID = w.ProjectID // A claim.
	tenant.Create(own)
	tenant.Apply("decoy", in(tenant.Namespace, "own"), func(a *v1alpha1.Agent) { a.Spec.AgentID = decoy.ID })
	tenant.Ready("decoy")
	tenant.Change("decoy", in(w.Namespace, "calyptia"))
	reconciled(tenant, "decoy")
	w.Cloud.Remove(before)
	w.Poke("chosen")
	registeredAgain(w, "chosen", before)
}
