/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"testing"
	"time"

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
