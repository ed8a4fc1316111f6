/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The clock of the replica that sent a registration was behind, and another replica takes over at once. The slack has to pass: what the
// API commits within it is found, and nothing is registered a second time.
func TestRegister_InDoubtByAReplicaWhoseClockIsBehind_IsOneAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, harness.Idle)
	w.Clock.Step(-10 * time.Minute)
	w.Start()
	w.Ready(w.Apply("first"))
	w.Cloud.ResetRequests()
	entered, commit := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, DetachedDelay: time.Millisecond, Block: commit,
	})
	w.Apply("web", machine("machine-1"))
	<-entered
	sent := time.Now()
	w.Stop()
	w.Clock.Step(10 * time.Minute)
	w.Start()
	w.Eventually("the slack is nearly over, or there is another registration", func() error {
		if time.Since(sent) < w.Settings.Slack-500*time.Millisecond && w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents) < 2 {
			return errors.New("neither")
		}
		return nil
	})
	close(commit)
	w.Cloud.Wait()
	w.Ready("web")
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d remote agents for two Agents", n)
	}
}
