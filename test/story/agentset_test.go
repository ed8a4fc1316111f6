/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestEveryNodeOfADaemonSetHasItsOwnAgentAndSession(t *testing.T) {
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b", "c")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 3)
	w.HasExactly("logs", w.Node("a"), w.Node("b"), w.Node("c"))
}
