/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// kustomizePath is the kustomize of hack/tools, built once by the go command.
var kustomizePath = sync.OnceValues(func() (string, error) {
	command := exec.Command("go", "tool", "-modfile="+filepath.Join(testenv.ModuleRoot(), "hack", "tools", "go.mod"), "-n", "kustomize")
	command.Dir = testenv.ModuleRoot()
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.Output()
	return strings.TrimSpace(string(out)), err
})

// kustomize builds a directory and returns its objects.
func kustomize(t *testing.T, dir string) []*unstructured.Unstructured {
	t.Helper()
	path, err := kustomizePath()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	command := exec.Command(path, "build", dir)
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(out.String(), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict([]byte(document), &object.Object); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

// tree writes files to a temporary directory, next to a copy of config/kustomize.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "kustomize"), os.DirFS(filepath.Join(testenv.ModuleRoot(), "config", "kustomize"))); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// referring are CloudProjects and Agents with every kind of reference. Some name their namespace: kustomize follows a
// namespace that the file itself has.
const referring = `
apiVersion: cloud.calyptia.com/v1alpha1
kind: CloudProject
metadata: {name: calyptia}
spec:
  tokenSecretRef: {name: project-token}
  caBundle: {configMapKeyRef: {name: authorities, key: ca.crt}}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: CloudProject
metadata: {name: other, namespace: base}
spec:
  tokenSecretRef: {name: not-of-this-build}
  caBundle: {secretKeyRef: {name: certificates, key: ca.crt}}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata: {name: web}
spec:
  projectRef: {name: calyptia}
  rawConfigFrom: {configMapKeyRef: {name: web, key: fluent-bit.conf}}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata: {name: api, namespace: base}
spec:
  projectRef: {name: other, namespace: base}
  rawConfigFrom: {secretKeyRef: {name: certificates, key: fluent-bit.conf}}
  tokenSecretRef: {name: kept-token}
  sessionSecretRef: {name: kept-session}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata: {name: far}
spec:
  projectRef: {name: calyptia, namespace: elsewhere}
  rawConfigFrom: {configMapKeyRef: {name: not-of-this-build, key: fluent-bit.conf}}
  tokenSecretRef: {name: written-by-the-operator}
  sessionSecretRef: {}
---
apiVersion: v1
kind: Secret
metadata: {name: kept-token}
---
apiVersion: v1
kind: Secret
metadata: {name: kept-session}
`

const base = `
namespace: base
resources: [declared.yaml]
configMapGenerator:
- {name: web, literals: [fluent-bit.conf=x]}
- {name: authorities, literals: [ca.crt=x]}
secretGenerator:
- {name: project-token, literals: [token=x]}
- {name: certificates, literals: [ca.crt=x, fluent-bit.conf=y]}
`

// TestKustomizeKeepsReferences renames everything in every way, and checks that each reference has the same target.
func TestKustomizeKeepsReferences(t *testing.T) {
	const component = "components: [../kustomize]\n"
	for _, row := range []struct {
		name, base, overlay string
		build               string
		prefix, suffix      string
		namespace           string
	}{
		{name: "hashes", base: base + component, build: "base", namespace: "base"},
		{name: "the file itself", base: base + "configurations: [kustomizeconfig.yaml]\n", build: "base", namespace: "base"},
		{name: "a prefix in an overlay", base: base + component, overlay: "resources: [../base]\nnamePrefix: dev-\n", build: "overlay",
			prefix: "dev-", namespace: "base"},
		{name: "prefix, suffix and namespace", base: base + component,
			overlay: "resources: [../base]\nnamePrefix: dev-\nnameSuffix: -eu\nnamespace: team\n", build: "overlay",
			prefix: "dev-", suffix: "-eu", namespace: "team"},
		{name: "the overlay alone knows of it", base: base, overlay: "resources: [../base]\nnamePrefix: dev-\n" + component, build: "overlay",
			prefix: "dev-", namespace: "base"},
		{name: "all in one", base: base + component + "namePrefix: dev-\nnameSuffix: -eu\n", build: "base",
			prefix: "dev-", suffix: "-eu", namespace: "base"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"base/kustomization.yaml": row.base, "base/declared.yaml": referring}
			if row.overlay != "" {
				files["overlay/kustomization.yaml"] = row.overlay
			}
			dir := tree(t, files)
			copyFile(t, filepath.Join(dir, "kustomize", "kustomizeconfig.yaml"), filepath.Join(dir, "base", "kustomizeconfig.yaml"))
			objects := kustomize(t, filepath.Join(dir, row.build))
			names := map[string]string{} // kind and name before to name after; hashes are cut off
			for _, object := range objects {
				name := strings.TrimSuffix(strings.TrimPrefix(object.GetName(), row.prefix), row.suffix)
				if !strings.HasPrefix(object.GetName(), row.prefix) || object.GetNamespace() != row.namespace {
					t.Errorf("%s %s/%s is not renamed", object.GetKind(), object.GetNamespace(), object.GetName())
				}
				for _, generated := range []string{"web", "authorities", "project-token", "certificates"} {
					if kind := object.GetKind(); (kind == "ConfigMap" || kind == "Secret") && strings.HasPrefix(name, generated+row.suffix+"-") {
						name = generated
					}
				}
				names[object.GetKind()+"/"+name] = object.GetName()
			}
			// References to objects outside of this build stay unchanged.
			want := map[string]string{
				"CloudProject/calyptia spec.tokenSecretRef.name":           names["Secret/project-token"],
				"CloudProject/calyptia spec.caBundle.configMapKeyRef.name": names["ConfigMap/authorities"],
				"CloudProject/other spec.tokenSecretRef.name":              "not-of-this-build",
				"CloudProject/other spec.caBundle.secretKeyRef.name":       names["Secret/certificates"],
				"Agent/web spec.projectRef.name":                           names["CloudProject/calyptia"],
				"Agent/web spec.projectRef.namespace":                      row.namespace, // same as none
				"Agent/web spec.rawConfigFrom.configMapKeyRef.name":        names["ConfigMap/web"],
				"Agent/api spec.projectRef.name":                           names["CloudProject/other"],
				"Agent/api spec.projectRef.namespace":                      row.namespace,
				"Agent/api spec.rawConfigFrom.secretKeyRef.name":           names["Secret/certificates"],
				"Agent/api spec.tokenSecretRef.name":                       names["Secret/kept-token"],
				"Agent/api spec.sessionSecretRef.name":                     names["Secret/kept-session"],
				"Agent/far spec.projectRef.name":                           "calyptia",
				"Agent/far spec.projectRef.namespace":                      "elsewhere",
				"Agent/far spec.rawConfigFrom.configMapKeyRef.name":        "not-of-this-build",
				"Agent/far spec.tokenSecretRef.name":                       "written-by-the-operator",
			}
			got := map[string]string{}
			for before, after := range names {
				for _, object := range objects {
					if object.GetName() == after && strings.HasPrefix(before, object.GetKind()+"/") && object.GetAPIVersion() != "v1" {
						maps.Copy(got, texts(before+" spec", object.Object["spec"]))
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// texts are the names and namespaces of references, by their path.
func texts(path string, value any) map[string]string {
	all := map[string]string{}
	inner, _ := value.(map[string]any)
	for key, below := range inner {
		if text, ok := below.(string); ok && (key == "name" || key == "namespace") {
			all[path+"."+key] = text
		}
		maps.Copy(all, texts(path+"."+key, below))
	}
	return all
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestKustomizeKnowsEachReference finds reference fields that the kustomize configuration does not name.
func TestKustomizeKnowsEachReference(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), "config", "kustomize", "kustomizeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		NameReference []struct {
			Kind, Group string
			FieldSpecs  []struct{ Path, Group, Kind string }
		}
	}
	if err := yaml.UnmarshalStrict(content, &config); err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, target := range config.NameReference {
		for _, field := range target.FieldSpecs {
			known = append(known, field.Kind+" "+strings.TrimSuffix(field.Path, "/name"))
		}
	}
	var there []string
	files, err := filepath.Glob(filepath.Join(testenv.OwnCRDs(), "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(content, &crd); err != nil {
			t.Fatal(err)
		}
		spec := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
		there = append(there, references(crd.Spec.Names.Kind+" spec", spec)...)
	}
	slices.Sort(known)
	known = slices.Compact(known)                             // The target of an AgentSet has one of two kinds.
	there = slices.DeleteFunc(there, func(path string) bool { // A template names no Secret.
		return strings.HasSuffix(path, "template/spec/tokenSecretRef") || strings.HasSuffix(path, "template/spec/sessionSecretRef")
	})
	slices.Sort(there)
	if diff := cmp.Diff(there, known); diff != "" {
		t.Errorf("-fields that refer +fields that kustomize knows:\n%s", diff)
	}
}

// references are the fields of a schema that name another object.
func references(path string, schema apiextensionsv1.JSONSchemaProps) (all []string) {
	for name, property := range schema.Properties {
		below := fmt.Sprintf("%s/%s", path, name)
		if _, named := property.Properties["name"]; named && strings.HasSuffix(name, "Ref") {
			all = append(all, below)
		}
		all = append(all, references(below, property)...)
		if property.Items != nil && property.Items.Schema != nil {
			all = append(all, references(below, *property.Items.Schema)...)
		}
	}
	return all
}

// TestKustomizeAcrossNamespaces tests the solution of the page for a CloudProject in another namespace, which the
// references of kustomize do not cover.
func TestKustomizeAcrossNamespaces(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{
		"kustomization.yaml":        replacement(t) + "resources: [shared, team]\ncomponents: [kustomize]\n",
		"shared/kustomization.yaml": "namespace: shared\nresources: [it.yaml]\n",
		"shared/it.yaml":            "apiVersion: cloud.calyptia.com/v1alpha1\nkind: CloudProject\nmetadata: {name: calyptia}\nspec: {tokenSecretRef: {name: t}}\n",
		"team/kustomization.yaml":   "namespace: team\nresources: [it.yaml]\n",
		"team/it.yaml": "apiVersion: cloud.calyptia.com/v1alpha1\nkind: Agent\nmetadata: {name: web}\n" +
			"spec: {projectRef: {name: calyptia, namespace: shared}}\n",
	})
	for _, object := range kustomize(t, dir) {
		if object.GetKind() == "Agent" {
			got, _, _ := unstructured.NestedStringMap(object.Object, "spec", "projectRef")
			if diff := cmp.Diff(map[string]string{"name": "dev-calyptia", "namespace": "shared"}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
	}
}

// replacement is the Kustomization in docs/gitops/README.md.
func replacement(t *testing.T) string {
	t.Helper()
	for block := range strings.SplitSeq(file(t, "docs", "gitops", "README.md"), "```yaml\n") {
		if block, _, _ = strings.Cut(block, "```"); strings.Contains(block, "\nreplacements:\n") {
			return block
		}
	}
	t.Fatal("the page shows no replacements")
	return ""
}

// TestTheManifestsOfThePageCanBeRenamed puts a copy of the file where Argo CD and Flux accept only directories.
func TestTheManifestsOfThePageCanBeRenamed(t *testing.T) {
	t.Parallel()
	var copies [2][]byte
	for i, dir := range []string{"config/kustomize", "docs/gitops/agents"} {
		content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), dir, "kustomizeconfig.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		copies[i] = content
	}
	if !bytes.Equal(copies[0], copies[1]) {
		t.Error("docs/gitops/agents/kustomizeconfig.yaml is not that of config/kustomize")
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "agents"), os.DirFS(filepath.Join(testenv.ModuleRoot(), "docs", "gitops", "agents"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: [agents]\nnamePrefix: dev-\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, object := range kustomize(t, dir) {
		if object.GetKind() == "Agent" {
			project, _, _ := unstructured.NestedString(object.Object, "spec", "projectRef", "name")
			config, _, _ := unstructured.NestedString(object.Object, "spec", "rawConfigFrom", "configMapKeyRef", "name")
			if project != "dev-calyptia" || config != "dev-web-logs" {
				t.Errorf("Agent %s refers to the CloudProject %s and the ConfigMap %s", object.GetName(), project, config)
			}
		}
	}
}
