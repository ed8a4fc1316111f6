/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Two CloudProjects have the same project and the same server, whose url they spell differently, as with and without the usual port.
// Of two Agents with one remote agent the first has it, and the other is Stalled, says docs/reliability.md.
func TestTwoAgents_OneRemoteAgent_UnderTwoSpellingsOfTheURL(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	first := w.Ready(w.Apply("first"))
	before := w.Remote()[0]
	spelled := w.NewCloudProject("spelled")
	spelled.Spec.URL = strings.Replace(w.HTTP.URL, "127.0.0.1:", "127.0.0.1:0", 1)
	w.Create(spelled)
	w.Apply("second", func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef.Name, a.Spec.AgentID = "spelled", first.Status.ID
		a.Spec.RawConfig = "[INPUT]\n    name mem\n"
	})
	second := w.ReadyOrStalled("second")
	if got := harness.Condition(second, v1alpha1.ConditionReady).Reason; got != v1alpha1.ReasonRemoteAlreadyManaged {
		t.Errorf("the second Agent is %s, want %s", harness.Describe(second), v1alpha1.ReasonRemoteAlreadyManaged)
	}
	if after := w.Remote()[0]; after.RawConfig != before.RawConfig {
		t.Errorf("the configuration of the first Agent's remote agent was changed to %q", after.RawConfig)
	}
}
