/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// dependencies are the packages of a program, with their versions.
func dependencies(t *testing.T, module string, packages ...string) map[string]string {
	t.Helper()
	const format = `{{with .Module}}{{$.ImportPath}} {{if .Replace}}{{.Replace.Version}}{{else}}{{.Version}}{{end}}{{end}}`
	command := exec.CommandContext(t.Context(), "go", append([]string{"list", "-deps", "-f", format}, packages...)...)
	command.Dir = module
	var failure bytes.Buffer
	command.Stderr = &failure
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, &failure)
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) == 2 {
			versions[fields[0]] = fields[1]
		}
	}
	return versions
}

// Another version of one package recompiles all packages that import it.
func TestTheOperatorAndTheControlPlaneShareTheirPackages(t *testing.T) {
	root := filepath.Join("..", "..")
	operator := dependencies(t, root, ".", "./hack/demo")
	shared := 0
	for pkg, version := range dependencies(t, filepath.Join(root, "hack", "controlplane"), "./demo", ".") {
		switch operator[pkg] {
		case "":
		case version:
			shared++
		default:
			t.Errorf("%s: the operator has %s, hack/controlplane has %s: set the newer one in both go.mod", pkg, operator[pkg], version)
		}
	}
	if shared < 400 {
		t.Errorf("they share %d packages only", shared)
	}
}

// The operator does not need these. Each was once a dependency of a package that it hardly used.
func TestTheOperatorLinksNoServer(t *testing.T) {
	for pkg := range dependencies(t, filepath.Join("..", ".."), ".") {
		for _, unwanted := range []string{"k8s.io/apiserver/", "google.golang.org/grpc", "go.opentelemetry.io/", "github.com/google/cel-go/"} {
			if strings.HasPrefix(pkg, unwanted) {
				t.Errorf("it links %s", pkg)
			}
		}
	}
}
