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

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The clock of the replica that sent a registration was behind, and another replica takes the lease at once. The slack has to pass: what
// the API commits within it is found, and nothing is registered a second time.
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

// The clock of Calyptia Cloud is behind that of a gateway, which writes the Date: what was registered with a chosen machine ID, from
// another namespace, looks older than its registration. Where nothing is listed, each registration leaves an agent: a few at once, and then
// fewer and fewer.
func TestRegister_ClockOfTheCloudIsBehindThatOfItsGateway_NoList_PausesGrow(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{
		NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble, Now: func() time.Time { return time.Now().Add(-30 * time.Second) },
	})
	w.Guest(tenant, "web", machine("machine-1"))
	for n := range 4 {
		posts(tenant, n+1)
		tenant.Stalled("web", v1alpha1.ReasonMachineIDConflict)
		wake(w, time.Duration(20+n)*time.Minute)
	}
	w.Apply("meanwhile", func(a *v1alpha1.Agent) { a.Spec.AgentID = nobody })
	w.Stalled("meanwhile", v1alpha1.ReasonRemoteNotFound)
	tenant.Stalled("web", v1alpha1.ReasonMachineIDConflict)
	posts(tenant, 4)
	w.Clock.Step(time.Minute)
	wake(w, time.Hour)
	posts(tenant, 5)
}
