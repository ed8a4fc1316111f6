/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestPROJECTIsTrue compares PROJECT with what it describes: the module, the CRDs, and the directories of the kinds.
func TestPROJECTIsTrue(t *testing.T) {
	var project struct {
		Layout    []string
		Repo      string
		Resources []struct{ Kind, Path string }
	}
	decode(t, "PROJECT", &project)
	if len(project.Layout) > 0 {
		t.Errorf("layout is %q, and the repository has none of kubebuilder's", project.Layout)
	}
	if mod, err := os.ReadFile("go.mod"); err != nil || !strings.HasPrefix(string(mod), "module "+project.Repo+"\n") {
		t.Errorf("repo is %q, and go.mod has another module (%v)", project.Repo, err)
	}
	var kinds, crds []string
	for _, resource := range project.Resources {
		kinds = append(kinds, resource.Kind)
		dir, within := strings.CutPrefix(resource.Path, project.Repo+"/")
		if info, err := os.Stat(filepath.FromSlash(dir)); !within || err != nil || !info.IsDir() {
			t.Errorf("%s: path %s is no directory here (%v)", resource.Kind, resource.Path, err)
		}
	}
	paths, err := filepath.Glob("config/crd/bases/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		var crd struct {
			Spec struct{ Names struct{ Kind string } }
		}
		decode(t, path, &crd)
		crds = append(crds, crd.Spec.Names.Kind)
	}
	slices.Sort(kinds)
	slices.Sort(crds)
	if len(crds) == 0 || !slices.Equal(kinds, crds) {
		t.Errorf("the kinds are %q, and the CRDs have %q", kinds, crds)
	}
}

func decode(t *testing.T, path string, into any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
