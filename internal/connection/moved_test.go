/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// Another url, or another project: what was found, missed and looked for at the former endpoint is not there.
func TestAnotherEndpoint_BeginsWithoutTheAgentsOfTheFormer(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoList: true})
	for i := range 9 {
		noError(t, w.Gone(agentOf("gone", i), w.clock.Now()))
	}
	w.Seen("there", "an-id")
	w.SetDuplicates("there", []string{"a-duplicate"})
	w.configure()
	if got := w.DuplicatesOf("there"); len(got) != 1 {
		t.Errorf("the duplicates are %v, and nothing changed", got)
	}
	w.cp.Spec.URL += "/elsewhere"
	w.configure()
	if got := w.DuplicatesOf("there"); len(got) > 0 {
		t.Errorf("the duplicates of the former endpoint are named: %v", got)
	}
	if w.KnowsAgents() {
		t.Error("agents of the former endpoint are known to exist")
	}
	noError(t, w.Gone(agentOf("gone", 9), w.clock.Now())) // The only one that is missing here.
}
