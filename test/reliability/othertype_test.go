/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The type of a remote agent cannot be changed: an Agent that finds its agent, which was retained, with another type is not "as declared".
func TestType_OfTheAgentThatIsFound_IsAnother_StallsUntilItIsDeleted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	id := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web")).ID
	w.Start()
	w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Type = v1alpha1.AgentTypeFluentd })
	w.Stalled("web", v1alpha1.ReasonRemoteMismatch, "spec.type is fluentd", id)
	w.Cloud.Remove(id)
	w.Poke("web")
	w.Ready("web")
}
