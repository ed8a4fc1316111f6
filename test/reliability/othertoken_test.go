/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A cluster is restored, and the CloudProject has the token of another project first. What that token lists shows nothing of the right
// project: a restored Agent finds its agent once the token is corrected.
func TestRestore_TokenOfAnotherProjectFirst_AgentFindsItsAgent(t *testing.T) {
	for name, row := range map[string]struct {
		hold    func(*v1alpha1.Agent)
		release func(w *harness.World)
	}{
		"its ConfigMap is missing": {func(a *v1alpha1.Agent) {
			a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{
				ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "late", Key: "fluent-bit.conf"},
			}
		}, func(w *harness.World) { w.ConfigMap("late", "fluent-bit.conf", "[INPUT]\n    name dummy\n") }},
		"it is suspended": {func(a *v1alpha1.Agent) { a.Spec.Suspend = true }, func(w *harness.World) {
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = false })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{EmptyForOthers: true, UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
				func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
			w.Cloud.AddToken(uuid.NewString(), wrongToken)
			w.Cloud.AddToken(w.ProjectID, rightToken)
			lives := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
			setToken(w, wrongToken)
			w.Apply("web", row.hold)
			w.Start()
			w.Eventually("the list of the other project is complete", func() error {
				if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteList); n < 2 { // That of the check, and that for the Agents.
					return fmt.Errorf("%d lists", n)
				}
				return nil
			})
			setToken(w, rightToken)
			w.Eventually("the right token is in use", func() error { return verifiedAgain(w, wrongToken) })
			w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
			row.release(w)
			a := w.Ready("web")
			if n := len(w.Remote()); n != 1 || a.Status.ID != lives.ID {
				t.Errorf("it has %s, its agent is %s; there are %d remote agents", a.Status.ID, lives.ID, n)
			}
		})
	}
}

// The same on an API that responds with the agent that has a machine ID: a chosen one, which an agent elsewhere has. Its first token may not
// register, and lists nothing of the right project, so that no list shows that agent until the token is corrected.
func TestRestore_TokenOfAnotherProjectFirst_AnothersAgentIsNotChanged(t *testing.T) {
	for name, guest := range map[string]bool{"another namespace": true, "the CloudProject's namespace": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{EmptyForOthers: true, UniqueMachineIDs: cloudtest.MachineIDUpsert},
				harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) {
					cp.Spec.ProjectID = w.ProjectID
					w.Settings.Slack = time.Minute
				})
			w.Stop()
			w.Cloud.AddToken(uuid.NewString(), wrongToken)
			w.Cloud.AddToken(w.ProjectID, rightToken)
			made := w.Register("elsewhere", "machine-1")
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Hour) })
			victims := w.Remote()
			setToken(w, wrongToken)
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`,
				Match: func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+wrongToken },
			})
			w.Start(tenant.Namespace)
			in := w
			if guest {
				in = tenant
			}
			w.Guest(in, "first", chosen("machine-1"))
			in.Stalled("first", v1alpha1.ReasonForbidden)
			w.Guest(in, "second", chosen("machine-2")) // It has a list made, which is later than the refusal.
			in.Stalled("second", v1alpha1.ReasonForbidden)
			setToken(w, rightToken)
			in.Ready("second")
			if id := in.ReadyOrStalled("first").Status.ID; id == victims[0].ID {
				t.Error("it has the agent elsewhere")
			}
			w.Unharmed(victims)
		})
	}
}

// The project token, or the url, is replaced while a registration is in flight, whose Agent is left behind later, and created again: it
// finds its agent.
func TestChange_DuringARegistration_AgentCreatedAgainFindsItsAgent(t *testing.T) {
	token := func(w *harness.World) {
		w.Cloud.AddToken(w.ProjectID, renewed)
		setToken(w, renewed)
	}
	url := func(w *harness.World) {
		server := httptest.NewServer(w.Cloud)
		w.Cleanup(server.Close)
		w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = server.URL })
	}
	for name, row := range map[string]struct {
		after  bool // The registration took effect before.
		change func(w *harness.World)
	}{
		"the token, after it took effect": {true, token},
		"the token, before":               {false, token},
		"the url":                         {false, url},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle,
				func(w *harness.World, cp *v1alpha1.CloudProject) {
					cp.Spec.ProjectID = w.ProjectID
					w.CloudTimeout = time.Minute
					w.Settings.PostWindow, w.Settings.Slack = time.Minute, 80*time.Second
				})
			w.Start()
			w.Ready(w.Apply("before")) // There is a list.
			entered, block := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: block, After: row.after,
			})
			w.Apply("web")
			<-entered
			lists := w.Cloud.Count(http.MethodGet, cloudtest.RouteList)
			row.change(w)
			w.Eventually("the change is in use", func() error { return verifiedAgain(w, w.Token.Reveal()) })
			w.Eventually("a list is made", func() error {
				if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteList); n < lists+2 { // That of the check, and that for the Agents.
					return fmt.Errorf("%d lists", n-lists)
				}
				return nil
			})
			close(block)
			var id string
			w.Eventually("it is recorded there", func() error {
				a := w.Get("web")
				id = a.Status.ID
				if a.Status.URL != w.Project().Status.URL || harness.Condition(a, v1alpha1.ConditionReady).Status != metav1.ConditionTrue {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
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
			a := w.Ready(w.Apply("web"))
			if n := len(w.Remote()); a.Status.ID != id || n != 2 {
				t.Errorf("it has %s instead of %s; there are %d remote agents, want 2", a.Status.ID, id, n)
			}
		})
	}
}
