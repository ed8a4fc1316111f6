/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package olm_test validates the bundle with the library of the Operator Lifecycle Manager. It is a separate module,
// because that library needs an old version of Kubernetes.
package olm_test

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
)

func TestTheBundle(t *testing.T) {
	const image = "registry.example.com/calyptia-agent-operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	dir := filepath.Join(t.TempDir(), "bundle")
	command := exec.CommandContext(t.Context(), "go", "run", "./hack/bundle", "-version", "v1.2.3", "-image", image, "-out", dir)
	command.Dir = filepath.Join("..", "..")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bundle, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if bundle.CSV == nil || bundle.CSV.Name != "calyptia-agent-operator.v1.2.3" || len(bundle.V1CRDs) < 2 {
		t.Fatalf("the bundle has %d CRDs and the CSV %v", len(bundle.V1CRDs), bundle.CSV)
	}
	for _, result := range validation.AllValidators.Validate(bundle, bundle.CSV) {
		for _, problem := range result.Errors {
			t.Errorf("%s: %s", result.Name, problem.Error())
		}
		for _, problem := range result.Warnings {
			t.Errorf("%s warns: %s", result.Name, problem.Error())
		}
	}
	if owned := len(bundle.CSV.Spec.CustomResourceDefinitions.Owned); owned != len(bundle.V1CRDs) {
		t.Errorf("it owns %d kinds and brings %d CRDs", owned, len(bundle.V1CRDs))
	}
	pod := bundle.CSV.Spec.InstallStrategy.StrategySpec.DeploymentSpecs[0].Spec.Template.Spec
	if got := pod.Containers[0].Image; got != image {
		t.Errorf("its image is %s", got)
	}
}
