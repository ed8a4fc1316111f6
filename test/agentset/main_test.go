/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"os"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// TestMain runs the real controller of DaemonSets with the operator; there is no kubelet. The controller of StatefulSets makes all
// replicas in memory at once, and a test declares two billion of them.
func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, testenv.Options{Controllers: []string{
		"garbage-collector-controller", "namespace-controller", "daemonset-controller",
	}}))
}
