/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

const modulePath = "github.com/calyptia-agent-operator/operator"

// ModuleRoot returns the directory of the operator's go.mod above the working directory, which for a test is that of its
// package. The source file's path is no help: -trimpath removes it.
func ModuleRoot() string {
	start, err := os.Getwd()
	if err != nil {
		return "."
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(content, []byte("module "+modulePath+"\n")) {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return start
		}
	}
}

// BuildOperator builds the operator's binary, as the tests and the benchmark run it.
func BuildOperator(ctx context.Context, path string) error {
	return Build(ctx, ModuleRoot(), path, ".")
}

// Build builds a program of the module in dir. args are those of `go build`.
func Build(ctx context.Context, dir, path string, args ...string) error {
	command := exec.CommandContext(ctx, "go", append([]string{"build", "-trimpath", "-buildvcs=false", "-o", path}, args...)...)
	command.Dir = dir
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s cannot be built: %w\n%s", filepath.Base(path), err, out)
	}
	return nil
}

// Assets returns the directory of the control plane's programs: KUBEBUILDER_ASSETS where it is set, else what
// `make control-plane` built.
func Assets() (string, error) {
	if dir := os.Getenv("KUBEBUILDER_ASSETS"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(ModuleRoot(), "bin", "controlplane", "current"))
	if err != nil {
		return "", fmt.Errorf("the control plane is not built, run `make control-plane` (once, some minutes): %w", err)
	}
	return dir, nil
}
