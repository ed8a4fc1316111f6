/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// TestInstallerIsAdmitted applies the output of kustomize and the samples by dry run; the installer as
// `make build-installer` writes it.
func TestInstallerIsAdmitted(t *testing.T) {
	const image = "registry.example/operator:v1"
	command := exec.Command("make", "--no-print-directory", "build-installer", "IMG="+image, "DIST="+t.TempDir())
	command.Dir = testenv.ModuleRoot()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	dist := strings.TrimPrefix(command.Args[len(command.Args)-1], "DIST=")
	files := must(filepath.Glob(filepath.Join(dist, "*")))(t)
	if len(files) != 1 || filepath.Base(files[0]) != "install.yaml" {
		t.Fatalf("it wrote %s, want one install.yaml", files)
	}
	manifest := string(must(os.ReadFile(files[0]))(t))
	if got := strings.Count(manifest, image); got != 1 {
		t.Errorf("the image is there %d times, want once", got)
	}
	installer := must(parse(manifest))(t)
	if len(ofKind(installer, "CustomResourceDefinition")) != 3 {
		t.Error("the installer has not all CRDs")
	}
	c := admin(t, must(shared())(t))
	createNamespace(t, c, operatorNamespace)
	createNamespace(t, c, "samples")
	for _, object := range installer {
		if object.GetKind() == "Namespace" { // It exists: the others are created in it.
			object.SetName("another")
		}
		admitted(t, c, object)
	}
	for _, dir := range []string{"config/prometheus", "config/network-policy"} {
		for _, object := range kustomize(t, dir) {
			admitted(t, c, object)
		}
	}
	for _, dir := range []string{"config/samples", "config/samples/fluent-bit"} {
		for _, object := range kustomize(t, dir) {
			object.SetNamespace("samples")
			admitted(t, c, object)
		}
	}
}
