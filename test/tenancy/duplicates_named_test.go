/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A guest's Agent has a duplicate, which the CloudProject of another team names, so that its owner deletes it. The owner does so after
// the Agent ceased to be checked there.
func TestDuplicates_OfAnAgentThatIsNoLongerChecked_AreNoLongerNamed(t *testing.T) {
	for name, leave := range map[string]func(w, tenant *harness.World){
		"refers to another CloudProject": func(_, tenant *harness.World) {
			tenant.Change("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "none"} })
		},
		"is suspended": func(_, tenant *harness.World) {
			tenant.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
		},
		"is at another installation, which does not have its agent": func(w, tenant *harness.World) {
			other := cloudtest.New(cloudtest.Settings{})
			other.AddToken(w.ProjectID, w.Token.Reveal())
			server := other.Start()
			tenant.Cleanup(server.Close)
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = server.URL })
			tenant.Stalled("web", v1alpha1.ReasonRemoteNotFound)
		},
		"is no longer allowed": func(w, _ *harness.World) {
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			tenant.Ready(w.Guest(tenant, "web", machine("machine-1")))
			twin := w.Register("twin", "machine-1")
			w.Clock.Step(time.Minute)
			tenant.Poke("web")
			names := func(want ...string) {
				w.Eventually(fmt.Sprintf("the CloudProject names the duplicates %v", want), func() error {
					w.PokeProject()
					if got := w.Project().Status.DuplicateAgents; !slices.Equal(got, want) {
						return fmt.Errorf("it names %v", got)
					}
					return nil
				})
			}
			names(twin.ID)
			leave(w, tenant)
			w.Cloud.Remove(twin.ID)
			names()
		})
	}
}
