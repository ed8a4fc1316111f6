/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package gitops_test checks the status that Argo CD, Flux, Helm and kubectl compute for Agents and CloudProjects over
// their life on a real API server.
package gitops_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }
