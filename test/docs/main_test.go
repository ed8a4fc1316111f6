/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package docs_test holds the README and everything under docs/ against the code: each manifest against a real
// API server, and each link, flag, field, annotation, reason, metric and make target against what there is.
package docs_test

import (
	"os"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) {
	os.Exit(harness.Run(m, testenv.Options{CRDDirs: []string{testenv.OwnCRDs(), testenv.ForeignCRDs()}}))
}
