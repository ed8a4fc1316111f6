/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command manager is the controller manager for a control plane that has none, such as the official binaries for tests.
package main

import (
	"os"

	"k8s.io/component-base/cli"

	"github.com/calyptia-agent-operator/operator/hack/controlplane/collector"
	"github.com/calyptia-agent-operator/operator/hack/controlplane/parent"
)

func main() {
	parent.EndWith()
	os.Exit(cli.Run(collector.NewCommand()))
}
