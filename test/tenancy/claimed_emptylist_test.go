/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// claimed makes a stranger, whom the victim's CloudProject does not allow: its own, of another project of the same API, claims the
// victim's project. The API lists what a token may see: nothing of that project.
func claimed(t *testing.T) (w, stranger *harness.World) {
	t.Helper()
	const token, project = "opaque-token-of-the-stranger-0999", "0b7e0000-0000-4000-8000-0000000000f1"
	w = harness.New(t, cloudtest.Settings{EmptyForOthers: true, UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle)
	stranger = w.In(w.AddNamespace("stranger"))
	w.Cloud.AddToken(project, token)
	stranger.Create(stranger.TokenSecret("calyptia-token", token))
	own := stranger.NewCloudProject("own")
	own.Spec.ProjectID = w.ProjectID
	stranger.Create(own)
	return w, stranger
}

func TestProjectID_ClaimedWithAnEmptyList_BlocksNoMachineID(t *testing.T) {
	t.Parallel()
	w, stranger := claimed(t)
	w.Start(stranger.Namespace)
	w.Ready(w.Apply("before"))
	stranger.Ready(stranger.Apply("squatter", in(stranger.Namespace, "own"), machine("machine-of-the-victim")))
	w.Apply("chosen", machine("machine-of-the-victim"))
	registeredAgain(w, "chosen", "")
}

func TestProjectID_ClaimedWithAnEmptyList_LeavesOneAgent(t *testing.T) {
	t.Parallel()
	w, stranger := claimed(t)
	lives := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
	w.Start(stranger.Namespace)
	w.Ready(w.Apply("before")) // There is a list, which has the victim's agent.
	stranger.Apply("thief", in(stranger.Namespace, "own"), func(a *v1alpha1.Agent) { a.Spec.AgentID = lives.ID })
	stranger.Stalled("thief", v1alpha1.ReasonRemoteNotFound)
	if a := w.Ready(w.Apply("web")); a.Status.ID != lives.ID { // Created again, as from a backup.
		t.Errorf("the restored Agent has %s instead of its remote agent %s, which is left: there are %d agents", a.Status.ID, lives.ID, len(w.Remote()))
	}
}
