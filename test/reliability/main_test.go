/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package reliability_test breaks the operator in every way that can be thought of, and checks what is left.
package reliability_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/calyptia-agent-operator/operator/test/harness"
)

// These tests wait far more than they work.
const parallel = "12"

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	harness.Main(m)
}
