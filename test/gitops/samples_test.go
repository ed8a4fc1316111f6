/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// TestNoSampleNeedsATokenInAFile: a command creates the project token, in the Secret that the sample names.
func TestNoSampleNeedsATokenInAFile(t *testing.T) {
	t.Parallel()
	objects := kustomize(t, filepath.Join(testenv.ModuleRoot(), "config", "samples"))
	var secret string
	for _, object := range objects {
		if object.GetKind() == "CloudProject" {
			secret, _, _ = unstructured.NestedString(object.Object, "spec", "tokenSecretRef", "name")
		}
	}
	command := "kubectl create secret generic " + secret + ` --from-literal=token="$CALYPTIA_TOKEN"`
	if head := file(t, "config", "samples", "kustomization.yaml"); secret == "" || !strings.Contains(head, "#   "+command+"\n") {
		t.Errorf("the kustomization does not say %q", command)
	}
	for _, object := range objects {
		if object.GetKind() == "Secret" && object.GetName() == secret {
			t.Errorf("the samples bring the Secret %s, so its token has to be written into a file", secret)
		}
	}
}

// TestSamplesCanBeRenamed applies an overlay to each of the samples.
func TestSamplesCanBeRenamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "config"), os.DirFS(filepath.Join(testenv.ModuleRoot(), "config"))); err != nil {
		t.Fatal(err)
	}
	for sample, outside := range map[string]string{"config/samples": "none", "config/samples/fluent-bit": "calyptia"} {
		overlay := "resources: [" + sample + "]\nnamePrefix: dev-\n"
		if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, object := range kustomize(t, dir) {
			for _, path := range []string{"projectRef", "rawConfigFrom.configMapKeyRef", "rawConfigFrom.secretKeyRef"} {
				name, found, _ := unstructured.NestedString(object.Object, strings.Split("spec."+path+".name", ".")...)
				if found && name != outside && !strings.HasPrefix(name, "dev-") {
					t.Errorf("%s %s: spec.%s names %s", object.GetKind(), object.GetName(), path, name)
				}
			}
		}
	}
}
