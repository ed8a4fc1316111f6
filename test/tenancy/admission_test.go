/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// forged sets the operator's finalizer and a made-up registration intent on an Agent.
func forged(a *v1alpha1.Agent) {
	a.Finalizers = []string{v1alpha1.AgentFinalizer}
	metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent,
		time.Now().UTC().Format(time.RFC3339Nano)+"/0011223344556677-00112233445566770011223344556677")
}

// outsider is a World whose CloudProject allows only its own namespace, and another namespace.
func outsider(t *testing.T, settings cloudtest.Settings) (w, tenant *harness.World) {
	t.Helper()
	w = harness.New(t, settings, harness.Idle)
	tenant = w.In(w.AddNamespace("outsider"))
	w.Start(tenant.Namespace)
	return w, tenant
}

// Users can write finalizers and annotations. From a namespace that is not allowed neither causes a request with the
// project token, and neither delays a deletion.
func TestDelete_ForgedFinalizerAndIntent_NotAllowed_NoRemoteRequest(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := outsider(t, server.settings)
			w.Ready(w.Apply("owned"))
			before := w.Remote()
			w.Cloud.ResetRequests()
			for i := range 5 {
				name := w.Guest(tenant, fmt.Sprintf("forged-%d", i), forged)
				if i%2 == 0 { // Deleted during and after its reconciliation.
					tenant.Stalled(name, v1alpha1.ReasonProjectNotAllowed)
				}
				tenant.Delete(name)
			}
			for i := range 5 {
				tenant.Gone(fmt.Sprintf("forged-%d", i))
			}
			if requests := w.Cloud.Requests(); len(requests) != 0 {
				t.Errorf("%d requests with the project's token, the first is %s %s", len(requests), requests[0].Method, requests[0].Route)
			}
			w.Unharmed(before)
		})
	}
}

// A verified remote agent is deleted with its Agent, even if its namespace is no longer allowed.
func TestDelete_NoLongerAllowed_DeletesItsOwnAgent(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, server.settings)
			w.Ready(w.Apply("owned"))
			before := w.Remote()
			id := tenant.Ready(w.Guest(tenant, "guest")).Status.ID
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
			tenant.Poke("guest")
			tenant.Stalled("guest", v1alpha1.ReasonProjectNotAllowed)
			tenant.Delete("guest")
			tenant.Gone("guest")
			if _, there := w.Cloud.Agent(id); there {
				t.Error("its remote agent was left behind")
			}
			w.Unharmed(before)
		})
	}
}

// A registration whose response was lost is resolved, even if the namespace is no longer allowed.
func TestDelete_NoLongerAllowed_ResolvesALostRegistration(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, server.settings)
			w.Ready(w.Apply("owned"))
			before := w.Remote()
			w.Cloud.Inject(cloudtest.Fault{Method: "POST", Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
			w.Guest(tenant, "guest")
			tenant.NotReady("guest", v1alpha1.ReasonRegistrationOutcomeUnknown)
			w.Stop()
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.AllowedNamespaces = nil })
			tenant.Delete("guest")
			w.Start(tenant.Namespace)
			mute := server.settings.NoList && server.settings.UniqueMachineIDs == cloudtest.MachineIDConflict
			if mute { // The API has the agent and does not return its ID.
				tenant.NotReady("guest", v1alpha1.ReasonRegistrationOutcomeUnknown, v1alpha1.AnnotationOrphan)
				return
			}
			tenant.Gone("guest")
			left := len(w.Remote()) - len(before)
			blind := server.settings.NoList && server.settings.UniqueMachineIDs == cloudtest.MachineIDDouble
			if left != 0 && !blind { // The repeated registration made a second agent: the first cannot be found.
				t.Errorf("%d agents were left behind", left)
			}
			w.Unharmed(before)
		})
	}
}
