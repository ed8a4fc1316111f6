/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package docs_test holds the README and everything under docs/ against the code: each manifest against a real
// API server, and each link, flag, field, annotation, reason, metric and make target against what there is.
package docs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

var (
	plane *testenv.ControlPlane
	// binary is the operator's, built once for all tests.
	binary string
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctrllog.SetLogger(logr.Discard())
	dir, err := os.MkdirTemp("", "docs-binary-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary = filepath.Join(dir, "calyptia-agent-operator")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", binary, ".")
	build.Dir = testenv.ModuleRoot()
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("the operator cannot be built: %w\n%s", err, out)
	}
	if plane, err = testenv.Start(context.Background(), testenv.Options{Controllers: []string{}}); err != nil {
		return 1, err
	}
	code = m.Run()
	return code, plane.Stop()
}
