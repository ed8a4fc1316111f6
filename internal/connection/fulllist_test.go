/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A registration that finds no memory ends the list in progress. Agents that wait for it, and those that come during the backoff, say so,
// and what to do: not that the list was canceled, which nobody can change.
func TestAList_EndedByARegistrationWithoutMemory_SaysWhatToDo(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.options.SnapshotMemory = 1000 // For an empty list, and not for one agent.
	w.renew()
	noError(t, w.Verify(t.Context()))
	w.expectFound("waits", w.clock.Now().Add(-1))

	entered, release := make(chan struct{}, 1), make(chan struct{})
	defer close(release)
	w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Entered: entered, Block: release, Times: 1})
	w.clock.Step(time.Second)
	find := func() error {
		_, _, err := w.FindByMachine(t.Context(), "waits", w.clock.Now().Add(-1))
		return err
	}
	waits := make(chan error, 1)
	go func() { waits <- find() }()
	<-entered
	w.register("web")
	for name, err := range map[string]error{"waits": <-waits, "comes later": find()} {
		var agent v1alpha1.Agent
		agentstatus.Conclude(&agent, agentstatus.Outcome{Failure: agentstatus.Classify(err), Now: w.clock.Now()})
		const want = "the remote agents of the CloudProjects of namespace default take too much memory: " +
			"delete agents or CloudProjects that are not needed, or give the operator more memory"
		ready := meta.FindStatusCondition(agent.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonListTooLarge || ready.Message != want {
			t.Errorf("an Agent that %s: %+v", name, ready)
		}
	}
}
