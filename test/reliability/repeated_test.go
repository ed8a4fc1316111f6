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

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway loses the response to a registration, repeats the request, and passes on the second response. With a chosen machine ID, what
// the first one created may be somebody else's: the operator leaves it, and the CloudProject names it.
func TestRegister_RepeatedByAGateway_ChosenMachineID_IsSeen(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: release})
	w.Apply("web", machine("machine-1"))
	<-entered
	first := w.Register("web", "machine-1").ID
	close(release)
	w.Ready("web")
	w.Clock.Step(2 * w.Settings.Slack)
	w.Eventually("the CloudProject names the duplicate", func() error {
		w.Poke("web")
		handled(w, "web")
		w.PokeProject()
		if named := w.Project().Status.DuplicateAgents; !slices.Equal(named, []string{first}) {
			return fmt.Errorf("it names %v", named)
		}
		return nil
	})
	remains(w, first, w.Get("web").Status.ID)
}
