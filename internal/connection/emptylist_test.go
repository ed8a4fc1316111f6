/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// Other servers, behind a wrong URL, respond to any path with a list. An empty one, or one of names, verifies no token: the lists that
// Agents need are no better than the one of the credential check.
func TestAList_AfterAnInconclusiveCheck_VerifiesATokenOnlyIfItHasAgents(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.cloud.AddNamed(projectID, cloud.Fleets, "edge")
	w.cloud.Inject(neitherYesNorNo)
	noError(t, w.Verify(t.Context()))
	noError(t, w.readFleets())
	w.find("m", w.clock.Now())
	if w.Result().Verified {
		t.Error("lists without agents verified the token")
	}
	w.registerAside("m")
	w.clock.Step(time.Second)
	w.find("m", w.clock.Now())
	if !w.Result().Verified {
		t.Error("a list of agents did not verify the token")
	}
}

// What the process knows of agents contradicts an empty list, which then needs a second request. A new project does not.
func TestAList_Empty_IsConfirmedIfAgentsAreKnown(t *testing.T) {
	for name, row := range map[string]struct {
		know  func(w *world)
		pages int
	}{
		"nothing":                {func(*world) {}, 1},
		"recorded":               {func(w *world) { w.SetRecorded(map[types.UID]string{"somebody": otherID}) }, 2},
		"found":                  {func(w *world) { w.Seen("somebody", otherID) }, 2},
		"deleted":                {func(w *world) { w.Seen("somebody", otherID); w.Leave("somebody") }, 1},
		"missing":                {func(w *world) { w.Seen("somebody", otherID); noError(w, w.Gone(somebody, w.clock.Now())) }, 1},
		"in the last snapshot":   {func(w *world) { w.registerAside("m"); w.find("m", w.clock.Now()) }, 2},
		"shown by the check":     {func(w *world) { w.registerAside("m"); noError(w, w.Verify(w.Context())) }, 2},
		"registered and deleted": {func(w *world) { noError(w, w.Delete(w.Context(), somebody, w.register("m"))) }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			row.know(w)
			for _, agent := range w.cloud.Agents(projectID) {
				w.cloud.Remove(agent.ID)
			}
			w.forget()
			w.clock.Step(time.Second)
			w.expectFound("m", w.clock.Now())
			w.lists(row.pages)
		})
	}
}
