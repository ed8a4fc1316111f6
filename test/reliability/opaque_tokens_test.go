/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Of an opaque token of an empty project nothing shows the project. The token is replaced while a registration is in flight: another Agent of
// the CloudProject with the same machine ID still does not register.
func TestOpaqueToken_ReplacedDuringARegistration_OneAgentHasTheMachineID(t *testing.T) {
	for name, row := range map[string]struct {
		settings cloudtest.Settings
		claim    bool
	}{
		"lists":   {cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, true},
		"no list": {cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, NoList: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) {
				if row.claim {
					cp.Spec.ProjectID = w.ProjectID
				}
				w.CloudTimeout = time.Minute
				w.Settings.PostWindow, w.Settings.Slack = time.Minute, 80*time.Second
			})
			w.Cloud.AddToken(w.ProjectID, rightToken)
			setToken(w, rightToken)
			w.Start()
			entered, block := make(chan struct{}, 9), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: block})
			w.Apply("a", machine("machine-1"))
			<-entered
			w.Cloud.AddToken(w.ProjectID, renewed)
			setToken(w, renewed)
			w.Eventually("the new token is in use", func() error { return verifiedAgain(w, rightToken) })
			w.Apply("b", machine("machine-1"))
			w.Stalled("b", v1alpha1.ReasonMachineIDConflict)
			close(block)
			w.Ready("a")
			if n := len(w.Remote()); n != 1 {
				t.Errorf("%d remote agents; b is %s", n, harness.Describe(w.Get("b")))
			}
		})
	}
}

// Two CloudProjects of a project that was empty when the operator started, with an opaque token each: nothing shows that they are of one
// project, so that the snapshot of the second lacks what the first registers. An Agent that is created again with the second finds its agent
// all the same.
func TestOpaqueTokens_LeftBehindAndCreatedAgainWithAnotherCloudProject_FindsItsAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
		func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
	w.Cloud.AddToken(w.ProjectID, rightToken)
	w.Cloud.AddToken(w.ProjectID, renewed)
	setToken(w, rightToken)
	w.Create(w.TokenSecret("other-token", renewed))
	other := w.NewCloudProject("other")
	other.Spec.TokenSecretRef.Name, other.Spec.ProjectID = "other-token", w.ProjectID
	w.Create(other)
	w.Start()
	there := func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "other" }
	w.Ready(w.Apply("before", there)) // It has a list.
	w.Delete("before")
	w.Gone("before")
	id := w.Ready(w.Apply("web")).Status.ID
	w.Change("web", func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
	})
	w.Delete("web")
	w.Gone("web")
	w.Eventually("its Secret is deleted", func() error {
		if w.Secret("web-token") != nil {
			return errors.New("it is there")
		}
		return nil
	})
	if a := w.Ready(w.Apply("web", there)); a.Status.ID != id {
		t.Errorf("it has %s instead of %s; there are %d remote agents", a.Status.ID, id, len(w.Remote()))
	}
}
