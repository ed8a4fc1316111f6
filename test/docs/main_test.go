/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package docs_test holds the README and everything under docs/ against the code: each manifest against a real
// API server, each command by running it, or by reading what its program says of itself, and each link, flag, field,
// annotation, reason, metric, object and make target against what there is.
package docs_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

var (
	// work is a directory for all tests together.
	work string
	// operatorPath is the operator's binary.
	operatorPath = sync.OnceValues(func() (string, error) {
		path := filepath.Join(work, "calyptia-agent-operator")
		return path, testenv.BuildOperator(context.Background(), path)
	})
	// helmPath and kustomizePath are the tools of hack, built once by the go command.
	helmPath      = sync.OnceValues(func() (string, error) { return goCommand("tool", "-modfile=hack/helm/go.mod", "-n", "helm") })
	kustomizePath = sync.OnceValues(func() (string, error) { return goCommand("tool", "-modfile=hack/tools/go.mod", "-n", "kustomize") })
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if work, err = os.MkdirTemp("", "docs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(work) }()
	return harness.Run(m, testenv.Options{CRDDirs: []string{testenv.OwnCRDs(), testenv.ForeignCRDs()}})
}

// goCommand is what the go command prints in the module's root.
func goCommand(args ...string) (string, error) {
	command := exec.Command("go", args...)
	command.Dir = testenv.ModuleRoot()
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// must ends the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
