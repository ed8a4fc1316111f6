/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"flag"
	"testing"

	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) {
	// These tests wait more than they work; the command line has the last word.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	harness.Main(m)
}
