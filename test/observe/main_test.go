/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package observe_test checks how the operator can be observed: metrics, alerts and dashboard, probes, events and logs.
// Tests of the process run the real binary.
package observe_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

var (
	// directory for binaries, removed at the end.
	directory string
	// binary is the operator's binary, built for the first test that needs it.
	binary = sync.OnceValues(func() (string, error) { return build(testenv.ModuleRoot(), "operator", ".") })
)

func TestMain(m *testing.M) {
	var err error
	if directory, err = os.MkdirTemp("", "observe-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := harness.Run(m, testenv.Options{})
	if err := os.RemoveAll(directory); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// build builds a program of the module in dir, and returns its path.
func build(dir, name string, args ...string) (string, error) {
	path := filepath.Join(directory, name)
	return path, testenv.Build(context.Background(), dir, path, args...)
}
