/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The type of a remote agent cannot be changed. An Agent that finds its remote agent with another type, or whose agent shows another, is
// not "as declared".
func TestType_RemoteShowsAnother_IsNotReady(t *testing.T) {
	t.Run("found by the derived machine ID", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{}, harness.Idle)
		w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
		w.Start()
		w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Type = v1alpha1.AgentTypeFluentd })
		w.Stalled("web", v1alpha1.ReasonRemoteMismatch)
	})
	t.Run("seen in a check", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		id := w.Ready(w.Apply("web")).Status.ID
		w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Type = "fluentd" })
		w.Poke("web")
		a := handled(w, "web")
		if c := harness.Condition(a, v1alpha1.ConditionReady); c.Status == "True" {
			t.Errorf("it is %s", harness.Describe(a))
		}
	})
}
