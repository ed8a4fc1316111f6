/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

// rejectedToken replaces the token of the CloudProject "own" by one that names a project, which the API rejects.
func rejectedToken(w *harness.World, projectID string) {
	w.Helper()
	s := w.Secret("calyptia-token")
	s.Data[v1alpha1.TokenKey] = []byte(base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"`+projectID+`"}`)) + ".forged-signature")
	if err := w.Client.Update(w.Context(), s); err != nil {
		w.Fatal(err)
	}
	w.Eventually("the API rejects the forged token", func() error {
		var cp v1alpha1.CloudProject
		if err := w.Client.Get(w.Context(), w.Key("own"), &cp); err != nil {
			return err
		}
		if meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("it is %+v", cp.Status.Conditions)
		}
		return nil
	})
}

// registeredAgain waits until an Agent is Ready with another agent than the one that it had.
func registeredAgain(w *harness.World, name, was string) {
	w.Helper()
	w.Eventually("the victim's Agent is registered", func() error {
		if a := w.Get(name); a.Status.ID == was || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("it is %s", harness.Describe(a))
		}
		return nil
	})
}

// By a stranger whom the victim's CloudProject does not allow: its CloudProject, of another project of the same API, claims the victim's
// project; its Agent adopts an agent with a machine ID that the victim will choose. Then the token is replaced by one that names the
// victim's project.
func TestProjectID_InATokenThatTheAPIRejects_ConfirmsNoProject(t *testing.T) {
	for name, forged := range map[string]bool{"claimed": false, "claimed, then forged": true} {
		for when, lost := range map[string]bool{"a new Agent": false, "a lost agent": true} {
			t.Run(name+"/"+when, func(t *testing.T) {
				t.Parallel()
				const token, project = "opaque-token-of-the-stranger-0123", "0b7e0000-0000-4000-8000-0000000000ac"
				w := harness.New(t, cloudtest.Settings{}, harness.Idle) // It allows its own namespace only.
				stranger := w.In(w.AddNamespace("stranger"))
				w.Start(stranger.Namespace)
				w.Ready(w.Apply("before"))
				w.Cloud.AddToken(project, token)
				decoy, err := objects.Register(t, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken(token)}, cloud.Registration{
					Name: "decoy", MachineID: "machine-of-the-victim", Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]\n    name dummy\n",
				})
				if err != nil {
					t.Fatal(err)
				}
				was := ""
				if lost {
					was = w.Ready(w.Apply("chosen", machine("machine-of-the-victim"))).Status.ID
				}
				stranger.Create(stranger.TokenSecret("calyptia-token", token))
				own := stranger.NewCloudProject("own")
				own.Spec.ProjectID = w.ProjectID // A claim.
				stranger.Create(own)
				stranger.Apply("decoy", in(stranger.Namespace, "own"), func(a *v1alpha1.Agent) { a.Spec.AgentID = decoy.ID })
				stranger.Ready("decoy")
				if forged {
					rejectedToken(stranger, w.ProjectID)
				}
				if lost {
					w.Cloud.Remove(was)
					w.Poke("chosen")
				} else {
					w.Apply("chosen", machine("machine-of-the-victim"))
				}
				registeredAgain(w, "chosen", was)
			})
		}
	}
}

// The same with the machine ID that is derived from the name of the victim's Agent, whose spec chooses none. The API responds to a read of
// another project's agent with its 403.
func TestProjectID_InATokenThatTheAPIRejects_BlocksNoDerivedMachineID(t *testing.T) {
	t.Parallel()
	const token, project = "opaque-token-of-the-stranger-0124", "0b7e0000-0000-4000-8000-0000000000ad"
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	stranger := w.In(w.AddNamespace("stranger"))
	w.Start(stranger.Namespace)
	w.Ready(w.Apply("before"))
	w.Cloud.AddToken(project, token)
	decoy, err := objects.Register(t, w.HTTP.URL, cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken(token)}, cloud.Registration{
		Name: "decoy", MachineID: registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"), Type: "fluentbit", Version: "v4.0.0",
		Edition: "community", RawConfig: "[INPUT]\n    name dummy\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	stranger.Create(stranger.TokenSecret("calyptia-token", token))
	own := stranger.NewCloudProject("own")
	own.Spec.ProjectID = w.ProjectID
	stranger.Create(own)
	stranger.Apply("decoy", in(stranger.Namespace, "own"), func(a *v1alpha1.Agent) { a.Spec.AgentID = decoy.ID })
	stranger.Ready("decoy")
	rejectedToken(stranger, w.ProjectID)
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`,
		Match: func(r *http.Request) bool { return r.URL.Path == "/v1/agents/"+decoy.ID }})
	w.Apply("web")
	registeredAgain(w, "web", "")
}
