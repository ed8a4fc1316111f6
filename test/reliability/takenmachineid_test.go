/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// An agent that was deleted in Calyptia Cloud has no machine ID any more, although the newest list shows it: no other Agent makes another list.
func TestMachineIDConflict_OtherAgentIsDeleted_IsRegistered(t *testing.T) {
	for _, row := range []struct {
		name string
		then func(*harness.World)
	}{
		{"at the next request to reconcile", func(w *harness.World) { w.Poke("web") }},
		{"at the next check", func(w *harness.World) {
			w.Clock.Step(11 * time.Minute)
			w.Change("web", func(a *v1alpha1.Agent) { // The real time is not stepped.
				metav1.SetMetaDataAnnotation(&a.ObjectMeta, "touched", "true")
			})
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			id := w.Register("elsewhere", "machine-1").ID
			w.Restart() // It has listed nothing yet.
			w.Apply("web", machine("machine-1"))
			w.Stalled("web", v1alpha1.ReasonMachineIDConflict)
			w.Cloud.Remove(id)
			row.then(w)
			w.Ready("web")
		})
	}
}

// The same in doubt: the other agent is older than the registration, which was not received.
func TestMachineIDConflict_InDoubt_OtherAgentIsDeleted_IsRegistered(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutBefore, Entered: entered, Block: release,
	})
	w.Apply("web", machine("machine-1"))
	<-entered // The list was before that.
	id := w.Register("elsewhere", "machine-1").ID
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Minute) })
	close(release)
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Stalled("web", v1alpha1.ReasonMachineIDConflict)
	w.Cloud.Remove(id)
	w.Poke("web")
	w.Ready("web")
}

// One wrong "not found" about the other agent is no evidence: it keeps its machine ID.
func TestMachineIDConflict_OneWrongNotFound_IsNotRegistered(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	id := w.Register("elsewhere", "machine-1").ID
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error": "agent not found"}`,
		Header: http.Header{"Content-Type": {"application/json"}},
	})
	w.Apply("web", machine("machine-1"))
	w.Stalled("web", v1alpha1.ReasonMachineIDConflict)
	remains(w, id)
}

// An API that responds to a taken machine ID with the agent that has it changes that agent. Another cluster registered it since the last
// list: spec.agentID has to ask for it, although the namespace may adopt it.
func TestMachineIDConflict_TakenSinceTheLastList_OtherAgentIsNotChanged(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert})
	w.Ready(w.Apply("beside", machine("machine-0"))) // The list.
	made := w.Register("elsewhere", "machine-1")
	w.Apply("web", machine("machine-1"))
	w.Stalled("web", v1alpha1.ReasonMachineIDConflict, "set spec.agentID", made.ID)
	if remote, _ := w.Cloud.Agent(made.ID); remote.Name != "elsewhere" {
		t.Errorf("its name is %s now", remote.Name)
	}
}

// Two CloudProjects of one project: what was deleted through one of them is in the list of the other.
func TestMachineID_DeletedThroughAnotherCloudProject_IsFree(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Create(w.NewCloudProject("second"))
	with := func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "second" }
	w.Ready(w.Apply("web", machine("machine-1")))
	w.Ready(w.Apply("other", with)) // Its CloudProject lists both.
	w.Delete("web")
	w.Gone("web")
	w.Ready(w.Apply("web", machine("machine-1"), with))
}
