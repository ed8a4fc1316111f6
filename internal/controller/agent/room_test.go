/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// A start brings all Agents at once. While a new one waits for the first list, those at rest are not looked at.
func TestAgentsAtRestMakeRoomForTheFirstList(t *testing.T) {
	const projectID = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		more   func(*pass, *view)
		want   bool
	}{
		{name: "at rest", want: true},
		{name: "a new generation", change: func(a *v1alpha1.Agent) { a.Generation = 3 }},
		{name: "a request to reconcile", change: annotated(v1alpha1.AnnotationReconcileAt, "now")},
		{name: "a token Secret that changed", more: func(_ *pass, v *view) { v.versions["Secret/web-token"] = "8" }},
		{name: "a source that changed", more: func(_ *pass, v *view) { v.versions["ConfigMap/pipeline"] = "6" }},
		{name: "not registered", change: func(a *v1alpha1.Agent) { a.Status.ID = "" }},
		{name: "deleted", change: deleting},
		{name: "looked at before", more: func(p *pass, _ *view) { p.memories.of(p.key(), p.agent.UID) }},
		{name: "no CloudProject", more: func(_ *pass, v *view) { v.project = nil }},
		{name: "a CloudProject that is not configured", more: func(_ *pass, v *view) { v.project.UID = "other" }},
		{name: "gone", more: func(_ *pass, v *view) { v.agent = nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.change == nil {
				row.change = func(*v1alpha1.Agent) {}
			}
			p, v := finished(func(a *v1alpha1.Agent) { a.Status.Applied.TokenSecretResourceVersion = "7" }, row.change)
			v.agent = p.agent
			service := cloudtest.New(cloudtest.Settings{})
			server := service.Start()
			defer server.Close()
			p.Projects = connection.NewRegistry(connection.Options{
				Clock: clocktesting.NewFakeClock(noon), Policy: cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
			})
			v.project.Spec.URL, v.project.Spec.Authentication = server.URL, v1alpha1.AuthenticationAuto
			shared, err := p.Projects.Configure(v.project, connection.Credentials{Token: service.AddProject(projectID)})
			if err == nil {
				err = shared.Verify(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if row.more != nil {
				row.more(p, v)
			}
			if wait := p.room(t.Context(), p.key()); wait != 0 {
				t.Errorf("put off by %s before there is a list", wait)
			}
			entered, release := make(chan struct{}, 1), make(chan struct{})
			service.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release})
			defer close(release)
			shared.Warm()
			<-entered
			wait := p.room(t.Context(), p.key())
			if put := wait >= time.Second && wait <= 3*time.Second; put != row.want || !put && wait != 0 {
				t.Errorf("put off by %s", wait)
			}
			if !row.want {
				return
			}
			result, err := p.Reconcile(t.Context(), ctrl.Request{NamespacedName: p.key()})
			if err != nil || result.RequeueAfter < time.Second || result.Priority == nil || *result.Priority != lowPriority {
				t.Errorf("%+v, error %v", result, err)
			}
			if p.memories.before(p.key()) != nil {
				t.Error("it was looked at all the same")
			}
		})
	}
}
