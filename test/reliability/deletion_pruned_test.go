/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// doubtful has an Agent whose response to the registration is lost, and whose outcome shows no earlier than the slack ends.
func doubtful(t *testing.T, settings cloudtest.Settings, change func(*v1alpha1.Agent)) (w *harness.World, first string, shows func()) {
	t.Helper()
	w = harness.New(t, settings, func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.Slack = time.Minute })
	first = w.Ready(w.Apply("first")).Status.ID
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	heal := func() {}
	if !settings.NoList {
		heal = w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
	}
	w.NotReady(w.Apply("web", change), v1alpha1.ReasonRegistrationOutcomeUnknown)
	return w, first, func() {
		heal()
		w.Clock.Step(2 * w.Settings.Slack)
	}
}

// pruned replaces the Agent by its manifest, which has no registration intent.
func pruned(w *harness.World) { w.Change("web", func(a *v1alpha1.Agent) { a.Annotations = nil }) }

// doomed deletes the Agent, which stays until the outcome is known.
func doomed(w *harness.World) { w.Delete("web") }

// The response to a registration is lost, and somebody removes the intent before or after the deletion of the Agent begins. What the
// registration created is deleted, too.
func TestDelete_InDoubt_IntentIsRemoved_LeavesNoAgent(t *testing.T) {
	for api, settings := range map[string]cloudtest.Settings{
		"lists": {}, "no list": {NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert},
	} {
		for when, steps := range map[string][]func(*harness.World){
			"before the deletion": {pruned, doomed}, "while it is being deleted": {doomed, pruned},
		} {
			t.Run(api+"/"+when, func(t *testing.T) {
				t.Parallel()
				w, first, shows := doubtful(t, settings, func(*v1alpha1.Agent) {})
				for _, step := range steps {
					step(w)
				}
				shows()
				w.Gone("web")
				remains(w, first)
			})
		}
	}
}

// The same, and somebody removes the operator's finalizer, too, while another finalizer keeps the Agent.
func TestDelete_InDoubt_IntentAndFinalizerAreRemoved_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	const other = "example.com/hold"
	w, first, shows := doubtful(t, cloudtest.Settings{}, func(a *v1alpha1.Agent) { a.Finalizers = []string{other} })
	doomed(w)
	w.Change("web", func(a *v1alpha1.Agent) { a.Annotations, a.Finalizers = nil, []string{other} })
	w.Poke("web")
	w.Becomes("web", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing, "finalizers")
	shows()
	w.Change("web", func(a *v1alpha1.Agent) { a.Finalizers = nil })
	w.Eventually("what the registration created is deleted", func() error {
		if left := remoteIDs(w); !slices.Equal(left, []string{first}) {
			return fmt.Errorf("the cloud has %v, want %s alone", left, first)
		}
		return nil
	})
}
