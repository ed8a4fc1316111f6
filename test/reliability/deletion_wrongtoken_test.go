/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const rightToken, wrongToken = "opaque-token-of-the-project", "opaque-token-of-another-project"

// twoProjects makes a world with the right token of two, of which neither contains its project.
func twoProjects(t *testing.T, settings cloudtest.Settings) *harness.World {
	t.Helper()
	w := harness.New(t, settings, harness.Idle, limited(100, 100), func(w *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.ProjectID = w.ProjectID
		w.Settings.OutageGrace = time.Millisecond
	})
	w.Cloud.AddToken(w.ProjectID, rightToken)
	w.Cloud.AddToken(uuid.NewString(), wrongToken)
	setToken(w, rightToken)
	w.Start()
	return w
}

func useWrongToken(w *harness.World) {
	w.Helper()
	setToken(w, wrongToken)
	w.Eventually("the wrong token is in use", func() error { return verifiedAgain(w, rightToken) })
}

// The token of the CloudProject is another project's while an Agent is deleted. That this token finds no duplicate shows nothing.
func TestDelete_TokenOfAnotherProject_LeavesNoDuplicate(t *testing.T) {
	t.Parallel()
	w := twoProjects(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	repair := withDuplicates(w, "web", 1)
	useWrongToken(w)
	w.Delete("web")
	repair()
	w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct", v1alpha1.AnnotationOrphan)
	setToken(w, rightToken)
	w.Gone("web")
	remains(w)
}

// otherLists are what an API responds to the list of a project that the token may not see.
var otherLists = map[string]cloudtest.Settings{"403": {}, "an empty list": {EmptyForOthers: true}}

// Neither response to the list of a project shows that the token is of that project: so a missing agent is not known to be deleted.
func TestDelete_TokenOfAnotherProject_LeavesNoAgent(t *testing.T) {
	for name, settings := range otherLists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twoProjects(t, settings)
			w.Ready(w.Apply("web"))
			w.Check("web")
			useWrongToken(w)
			w.Delete("web")
			w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct", v1alpha1.AnnotationOrphan)
			setToken(w, rightToken)
			w.Gone("web")
			remains(w)
		})
	}
}

// The same while the Agent stays: it is not registered in the other project.
func TestMissing_TokenOfAnotherProject_RegistersNothingThere(t *testing.T) {
	for name, settings := range otherLists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := twoProjects(t, settings)
			id := w.Ready(w.Apply("web")).Status.ID
			w.Check("web")
			useWrongToken(w)
			w.Poke("web")
			w.Clock.Step(w.Settings.GoneDelay)
			w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct")
			setToken(w, rightToken)
			w.Eventually("the right token is in use", func() error { return verifiedAgain(w, wrongToken) })
			w.Check("web")
			if a := w.Ready("web"); a.Status.ID != id {
				t.Errorf("the Agent has %s instead of %s", a.Status.ID, id)
			}
			remains(w, id)
		})
	}
}

// The same while the Agent stays: the duplicate, which one check missed, is still recorded.
func TestDuplicate_TokenOfAnotherProject_IsNotForgotten(t *testing.T) {
	t.Parallel()
	w := twoProjects(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	repair := withDuplicates(w, "web", 1)
	missed := wrongly(w.Get("web").Status.DuplicatesToDelete[0])
	missed.Method, missed.Times = http.MethodDelete, 0
	found := w.Cloud.Inject(missed)
	repair()
	w.Handled("web")
	w.Clock.Step(w.Settings.GoneDelay)
	useWrongToken(w)
	found()
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionDelete, v1alpha1.DeletionRetain} {
		w.Change("web", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = policy })
		if a := w.Ready("web"); len(a.Status.DuplicatesToDelete) != 1 {
			t.Errorf("recorded are %v, and %d remote agents are left", a.Status.DuplicatesToDelete, len(w.Remote()))
		}
	}
	setToken(w, rightToken)
	w.Eventually("the right token is in use", func() error { return verifiedAgain(w, wrongToken) })
	w.Check("web")
	remains(w, w.Get("web").Status.ID)
}

// An API says of an agent that it does not have that it is deleted. With the token of another project that shows nothing, either.
func TestDelete_TokenOfAnotherProject_DeletionThatTheAPIAccepts_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w := twoProjects(t, cloudtest.Settings{NoList: true})
	w.Ready(w.Apply("web"))
	w.Check("web") // A read showed the agent, so the deletion comes first.
	useWrongToken(w)
	repair := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusNoContent})
	w.Delete("web")
	w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct", v1alpha1.AnnotationOrphan)
	repair()
	setToken(w, rightToken)
	w.Gone("web")
	remains(w)
}
