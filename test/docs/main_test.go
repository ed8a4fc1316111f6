/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package docs_test compares the README and the pages under docs/ with the code. A real API server checks each manifest.
// Commands run, or are checked against the help of their program. Each link, flag, field, annotation, reason, metric,
// object and make target has to exist.
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
	// work is a directory that all tests share.
	work string
	// operatorPath is the operator's binary.
	operatorPath = sync.OnceValues(func() (string, error) {
		path := filepath.Join(work, "calyptia-agent-operator")
		return path, testenv.BuildOperator(context.Background(), path)
	})
	// helmPath and kustomizePath are the tools of hack, which the go command builds once.
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
