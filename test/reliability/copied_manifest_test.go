/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A manifest is exported from one cluster with its annotations, and applied in another that uses the same project.
func TestManifest_CopiedToAnotherCluster_TakesNothingOver(t *testing.T) {
	for name, annotated := range map[string]bool{"without the annotation": false, "with the annotation": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			original := w.Ready(w.Apply("web", machine("machine-1")))
			victim, _ := w.Cloud.Agent(original.Status.ID)
			w.Stop()
			other := w.In(w.AddNamespace("other")) // It is in the other cluster.
			other.Settings.ClusterID = "other-cluster"
			other.Create(other.TokenSecret("calyptia-token", w.Token.Reveal()))
			other.Create(other.NewCloudProject("calyptia"))
			second := other.Second()
			second.Start()
			second.Apply("web", machine("machine-1"), func(a *v1alpha1.Agent) {
				a.Spec.RawConfig = "[INPUT]\n    name cpu\n"
				if annotated {
					a.Annotations = original.Annotations
				}
			})
			second.Stalled("web", v1alpha1.ReasonMachineIDConflict, original.Status.ID, "agentID")
			second.Delete("web")
			second.Gone("web")
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// A manifest is exported, renamed and applied beside the original.
func TestManifest_CopiedBesideTheOriginal_CanBeDeleted(t *testing.T) {
	for name, annotated := range map[string]bool{"without the annotation": false, "with the annotation": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			original := w.Ready(w.Apply("web", machine("machine-1")))
			victim, _ := w.Cloud.Agent(original.Status.ID)
			w.Apply("copy", machine("machine-1"), func(a *v1alpha1.Agent) {
				if annotated {
					a.Annotations = original.Annotations
				}
			})
			w.Stalled("copy", v1alpha1.ReasonMachineIDConflict, w.Namespace+"/web")
			w.Delete("copy")
			w.Gone("copy")
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// An Agent is restored under its name in the same cluster, from a backup that was made before or after its registration was recorded.
func TestManifest_RestoredWithAChosenMachineID_FindsItsAgent(t *testing.T) {
	for _, row := range []struct {
		name              string
		inDoubt, newToken bool
	}{
		{name: "registered"},
		{name: "in doubt", inDoubt: true},
		{name: "in doubt, and the project token was replaced", inDoubt: true, newToken: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			show := func() {}
			if row.inDoubt {
				w.Ready(w.Apply("first"))
				w.Delete("first")
				w.Gone("first")
				entered, release := make(chan struct{}, 1), make(chan struct{})
				w.Cloud.Inject(cloudtest.Fault{
					Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: release,
				})
				w.Apply("web", machine("machine-1"))
				<-entered // A chosen machine ID needs a list before that.
				show = w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
				close(release)
				w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
			} else {
				w.Ready(w.Apply("web", machine("machine-1")))
			}
			registered, saved := w.Remote()[0], w.Get("web")
			w.Stop()
			show()
			deleteWithoutOperator(w, "web")
			forget(w, "web-token")
			if row.newToken {
				next := base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"`+w.ProjectID+`"}`)) + ".another-signature-of-some-length"
				w.Cloud.AddToken(w.ProjectID, next)
				w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: next})
			}
			w.Apply("web", machine("machine-1"), func(a *v1alpha1.Agent) { a.Annotations, a.Finalizers = saved.Annotations, saved.Finalizers })
			w.Start()
			if a := w.ReadyOrStalled("web"); a.Status.ID != registered.ID {
				t.Errorf("it is %s, want the agent %s", harness.Describe(a), registered.ID)
			}
			remains(w, registered.ID)
		})
	}
}
