/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// gitops is the field manager of the tool that applies.
const gitops = client.FieldOwner("argocd-controller")

// maximal sets every field that can be set together, to values that a serializer or the server might change: empty strings
// and lists, numbers, nulls, times in other units.
const maximal = `
apiVersion: cloud.calyptia.com/v1alpha1
kind: CloudProject
metadata:
  name: maximal
  labels: {argocd.argoproj.io/instance: logging}
  annotations: {argocd.argoproj.io/tracking-id: "logging:cloud.calyptia.com/CloudProject:x/maximal", argocd.argoproj.io/sync-wave: "1"}
spec:
  url: URL
  tokenSecretRef: {name: calyptia-token, key: token}
  authentication: Bearer
  projectID: PROJECT
  allowedNamespaces: {from: Selector, selector: {matchLabels: {a: b}, matchExpressions: [{key: c, operator: Exists}]}}
  adoption: Allowed
  rateLimit: {requestsPerSecond: 0, burst: 100}
  resyncInterval: 90m
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: maximal
  labels: {argocd.argoproj.io/instance: logging, kustomize.toolkit.fluxcd.io/name: logging}
  annotations: {argocd.argoproj.io/tracking-id: "logging:cloud.calyptia.com/Agent:x/maximal", argocd.argoproj.io/sync-wave: "2"}
spec:
  projectRef: {name: maximal, namespace: NAMESPACE}
  name: Web-Logs.example.com
  machineID: "machine:1"
  type: fluentbit
  version: v4.0.0
  edition: enterprise
  flags: []
  rawConfig: "[INPUT]\n    name dummy\n"
  metadata: {team: web, empty: "", list: [], none: null, number: 1.50, nested: {a: [1, {b: true}]}}
  fleet: {id: 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11}
  agentID: ""
  tokenSecretRef: {name: ""}
  sessionSecretRef: {}
  syncPolicy: Enforce
  deletionPolicy: ""
  suspend: false
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata: {name: minimal}
spec: {projectRef: {name: calyptia}, type: fluentd, version: v1.18.0, rawConfig: a}
`

// samples are the objects of config/samples and those of its directories.
func samples(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testenv.ModuleRoot(), "config", "samples")
	var texts []string
	for _, path := range []string{".", "fluent-bit"} {
		content, err := os.ReadFile(filepath.Join(dir, path, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var kustomization struct{ Resources []string }
		if err := yaml.Unmarshal(content, &kustomization); err != nil {
			t.Fatal(err)
		}
		for _, name := range kustomization.Resources {
			texts = append(texts, file(t, "config", "samples", path, name))
		}
	}
	return strings.Join(texts, "\n---\n")
}

// declared are the objects of both kinds for a World, and the objects that they refer to.
func declared(t *testing.T, w *harness.World) (objects []*unstructured.Unstructured) {
	t.Helper()
	text := strings.NewReplacer("URL", w.HTTP.URL, "PROJECT", w.ProjectID, "NAMESPACE", w.Namespace).Replace(maximal)
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewBufferString(samples(t) + "\n---\n" + text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		data, err := yaml.YAMLToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(data); err != nil {
			t.Fatal(err)
		}
		if object.GetKind() == projectKind && object.GetName() == "calyptia" {
			object.SetName("sample") // The World has one with the same name and another URL.
		}
		object.SetNamespace(w.Namespace)
		objects = append(objects, object)
	}
	if n := len(ofKind(objects, agentKind)); n != 7 {
		t.Fatalf("%d Agents, want 7", n)
	}
	return objects
}

func ofKind(objects []*unstructured.Unstructured, kinds ...string) (some []*unstructured.Unstructured) {
	for _, object := range objects {
		if slices.Contains(kinds, object.GetKind()) {
			some = append(some, object)
		}
	}
	return some
}

func live(t *testing.T, w *harness.World, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	got := object.DeepCopy()
	if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(object), got); err != nil {
		t.Fatal(err)
	}
	return got
}

// apply is a server-side apply without force: a conflict over the ownership of a field fails.
func apply(t *testing.T, w *harness.World, object *unstructured.Unstructured, more ...client.ApplyOption) *unstructured.Unstructured {
	t.Helper()
	applied := object.DeepCopy()
	more = append(more, gitops)
	if err := w.Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), more...); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
	return applied
}

// settle waits until the operator has written the status of every object.
func settle(t *testing.T, w *harness.World, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, object := range ofKind(objects, agentKind) {
		w.Ready(object.GetName())
	}
	for _, object := range ofKind(objects, projectKind) {
		w.Eventually("CloudProject "+object.GetName()+" has its status", func() error {
			if conditions, observed := conditionsOf(live(t, w, object)); observed != 1 || len(conditions) == 0 {
				return fmt.Errorf("generation %d, %v", observed, conditions)
			}
			return nil
		})
	}
}

// without removes what every write changes and no tool compares.
func without(object *unstructured.Unstructured) map[string]any {
	copied := object.DeepCopy()
	unstructured.RemoveNestedField(copied.Object, "metadata", "managedFields")
	unstructured.RemoveNestedField(copied.Object, "metadata", "resourceVersion")
	return copied.Object
}

// unchanged applies each object again, first as a dry run, as Argo CD does for a diff. The apply must not make a new
// version, unless the status was never written: then the API server stores the default that it only showed before,
// and nothing else changes.
func unchanged(t *testing.T, w *harness.World, objects []*unstructured.Unstructured, reconciled bool) {
	t.Helper()
	for _, object := range ofKind(objects, agentKind, projectKind) {
		name := object.GetKind() + " " + object.GetName()
		before := live(t, w, object)
		predicted := apply(t, w, object, client.DryRunAll)
		if diff := cmp.Diff(without(before), without(predicted)); diff != "" {
			t.Errorf("%s, what a diff by the server shows:\n%s", name, diff)
		}
		after := apply(t, w, object)
		if diff := cmp.Diff(without(before), without(after)); diff != "" {
			t.Errorf("%s, applied again:\n%s", name, diff)
		}
		if !reconciled {
			before = after
			after = apply(t, w, object)
		}
		if before.GetResourceVersion() != after.GetResourceVersion() {
			t.Errorf("%s, applied again, went from version %s to %s", name, before.GetResourceVersion(), after.GetResourceVersion())
		}
	}
}

func TestApplyingOnTheServerAgainShowsNoDiff(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	objects := declared(t, w)
	for _, object := range objects {
		apply(t, w, object)
	}
	unchanged(t, w, objects, false)
	w.Start()
	settle(t, w, objects)
	unchanged(t, w, objects, true)
	for _, object := range ofKind(objects, agentKind, projectKind) {
		ownsNothingDeclared(t, live(t, w, object))
	}

	// A change of every field that the operator might own causes no conflict.
	for _, object := range ofKind(objects, agentKind) {
		changed := object.DeepCopy()
		spec := changed.Object["spec"].(map[string]any)
		spec["version"], spec["suspend"] = "v9.9.9", false
		apply(t, w, changed)
		w.Ready(object.GetName())
		unchanged(t, w, []*unstructured.Unstructured{changed}, true)
	}
}

// ownsNothingDeclared checks the fields that other managers than the tool own.
func ownsNothingDeclared(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	name, owned := object.GetKind()+" "+object.GetName(), map[string]bool{}
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == string(gitops) {
			continue
		}
		if entry.Subresource == "status" {
			owned["status"] = true
			for path := range paths(t, entry) {
				if !strings.HasPrefix(path, "f:status") {
					t.Errorf("%s: with its status the operator wrote %s", name, path)
				}
			}
			continue
		}
		for path := range paths(t, entry) {
			owned[path] = true
		}
	}
	want := []string{
		"f:metadata.f:finalizers", `f:metadata.f:finalizers.v:"cloud.calyptia.com/` + strings.ToLower(object.GetKind()) + `"`, "status",
	}
	if object.GetKind() == agentKind {
		want = append(want, "f:metadata.f:annotations.f:cloud.calyptia.com/registration-intent")
	}
	optional := map[string]bool{"f:metadata": true, "f:metadata.f:annotations": true} // The maps that contain them.
	for _, path := range want {
		if !owned[path] {
			t.Errorf("%s: the operator does not own %s of what it has: %v", name, path, slices.Sorted(maps.Keys(owned)))
		}
	}
	for path := range owned {
		if !slices.Contains(want, path) && !optional[path] {
			t.Errorf("%s: the operator owns %s", name, path)
		}
	}
}

// paths are the fields that an entry owns; a dot is the field around others.
func paths(t *testing.T, entry metav1.ManagedFieldsEntry) map[string]bool {
	t.Helper()
	var fields map[string]any
	if err := yaml.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	var walk func(prefix string, fields map[string]any)
	walk = func(prefix string, fields map[string]any) {
		for key, below := range fields {
			path := strings.TrimPrefix(prefix+"."+key, ".")
			if key == "." {
				path = prefix
			}
			nested, _ := below.(map[string]any)
			if len(nested) == 0 {
				all[path] = true
			}
			walk(path, nested)
		}
	}
	walk("", fields)
	return all
}

func TestTheOperatorsFieldsSurviveAnApply(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	objects := declared(t, w)
	for _, object := range objects {
		apply(t, w, object)
	}
	settle(t, w, objects)
	before := w.Get("maximal")
	for _, object := range objects {
		apply(t, w, object)
	}
	a := w.Get("maximal")
	if !slices.Contains(a.Finalizers, v1alpha1.AgentFinalizer) || a.Annotations[v1alpha1.AnnotationRegistrationIntent] == "" ||
		cmp.Diff(before.Status, a.Status) != "" {
		t.Errorf("finalizers %q, annotations %v, status %+v", a.Finalizers, a.Annotations, a.Status)
	}
	// A tool prunes objects that have its label and are not in Git. It must not prune those that the operator creates.
	for _, name := range []string{"maximal-token", "maximal-session", "maximal-credentials"} {
		s := w.Secret(name)
		if s == nil {
			t.Fatalf("there is no Secret %s", name)
		}
		for key := range maps.All(s.Labels) {
			if strings.Contains(key, "argo") || strings.Contains(key, "flux") {
				t.Errorf("Secret %s has the label %s", name, key)
			}
		}
		for key := range maps.All(s.Annotations) {
			if !strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") {
				t.Errorf("Secret %s has the annotation %s", name, key)
			}
		}
	}
}

func TestKubectlApplySaysUnchanged(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	all := declared(t, w)
	objects := ofKind(all, agentKind, projectKind)
	path := filepath.Join(t.TempDir(), "manifests.yaml")
	var texts []string
	for _, object := range all {
		if !slices.Contains(objects, object) {
			apply(t, w, object)
			continue
		}
		text, err := yaml.Marshal(object.Object)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(text))
	}
	if err := os.WriteFile(path, []byte(strings.Join(texts, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := kubectl(t, w, "apply", "-f", path); err != nil {
		t.Fatal(err, out)
	}
	again := func(when string) {
		out, err := kubectl(t, w, "apply", "-f", path)
		if n := strings.Count(out, " unchanged\n"); err != nil || n != len(objects) || strings.Count(out, "\n") != n {
			t.Errorf("%s: %v, want %d times unchanged:\n%s", when, err, len(objects), out)
		}
		// It exits with 1 if there is a difference.
		if out, err := kubectl(t, w, "diff", "-f", path); err != nil {
			t.Errorf("%s, kubectl diff: %v\n%s", when, err, out)
		}
	}
	again("before the operator")
	w.Start()
	settle(t, w, objects)
	again("after the operator")
}
