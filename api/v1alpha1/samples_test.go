/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func TestSamples(t *testing.T) {
	namespace := newNamespace(t)
	var agents []string
	for _, document := range readSamples(t) {
		object := &unstructured.Unstructured{}
		noError(t, yaml.Unmarshal(document, object))
		id := object.GetKind() + " " + object.GetName()
		if object.GetNamespace() != "" {
			t.Errorf("%s has a namespace: samples go to the current one", id)
		}
		switch object.GetKind() {
		case "Agent":
			agents = append(agents, object.GetName())
			decodeStrictly(t, id, document, &v1alpha1.Agent{})
		case "CloudProject":
			decodeStrictly(t, id, document, &v1alpha1.CloudProject{})
		}
		object.SetNamespace(namespace)
		appliesAgain(t, object)
	}
	want := []string{"web-logs", "audit-logs", "node-logs", "payments-logs"}
	if !slices.Equal(agents, want) {
		t.Errorf("agents are %q, want %q", agents, want)
	}
	for _, name := range agents {
		var agent v1alpha1.Agent
		noError(t, kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &agent))
		noError(t, kube.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: agent.Spec.ProjectRef.Name}, &v1alpha1.CloudProject{}))
	}
}

func TestSampleOfAFleet(t *testing.T) {
	document, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), "config", "samples", "fleet", "agent.yaml"))
	noError(t, err)
	decodeStrictly(t, "the sample", document, &v1alpha1.Agent{})
	object := &unstructured.Unstructured{}
	noError(t, yaml.Unmarshal(document, object))
	object.SetNamespace(newNamespace(t))
	appliesAgain(t, object)
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	namespace := newNamespace(t)
	agent := newObject(t, "Agent", namespace, "a", minimalAgent, `{projectRef: {name: p}, name: web-logs, flags: [], metadata: {a: [1, {b: 2.5}]},
		edition: "", tokenSecretRef: {}, sessionSecretRef: {}, suspend: false}`)
	appliesAgain(t, agent)

	// What the operator writes must not make the next application a change either.
	var current v1alpha1.Agent
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(agent), &current))
	before := current.DeepCopy()
	current.Finalizers = []string{v1alpha1.AgentFinalizer}
	noError(t, kube.Patch(t.Context(), &current, client.MergeFrom(before)))
	current.Status.ID = someUUID
	noError(t, kube.Status().Update(t.Context(), &current))
	version := current.ResourceVersion
	appliesAgain(t, agent)
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(agent), &current))
	if current.ResourceVersion != version {
		t.Errorf("applying an Agent that has a status made version %s of %s", current.ResourceVersion, version)
	}

	appliesAgain(t, newObject(t, "CloudProject", namespace, "a", minimalProject, `{resyncInterval: 60m, rateLimit: {burst: 5}}`))
}

// appliesAgain applies object as GitOps tools do, and asserts that doing so again changes nothing. The first time after
// the creation is an exception of the API server's: it stores the default status, which it only showed until then.
func appliesAgain(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	var versions []string
	var generations []int64
	for range 3 {
		applied := object.DeepCopy()
		noError(t, kube.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), client.FieldOwner("gitops")))
		noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(object), applied))
		versions = append(versions, applied.GetResourceVersion())
		generations = append(generations, applied.GetGeneration())
	}
	id := object.GetKind() + " " + object.GetName()
	if versions[1] != versions[2] {
		t.Errorf("applying %s again made versions %q", id, versions)
	}
	if generations[0] != generations[1] || generations[1] != generations[2] {
		t.Errorf("applying %s again made generations %d", id, generations)
	}
}

// readSamples returns the documents of the files that config/samples/kustomization.yaml lists, which are all there are.
func readSamples(t *testing.T) (documents [][]byte) {
	t.Helper()
	dir := filepath.Join(testenv.ModuleRoot(), "config", "samples")
	content, err := os.ReadFile(filepath.Join(dir, "kustomization.yaml"))
	noError(t, err)
	var kustomization struct{ Resources []string }
	noError(t, yaml.Unmarshal(content, &kustomization))
	entries, err := os.ReadDir(dir)
	noError(t, err)
	for _, entry := range entries {
		// A directory is a separate sample.
		if name := entry.Name(); !entry.IsDir() && name != "kustomization.yaml" && !slices.Contains(kustomization.Resources, name) {
			t.Errorf("kustomization.yaml does not list %s", name)
		}
	}
	for _, name := range kustomization.Resources {
		content, err := os.ReadFile(filepath.Join(dir, name))
		noError(t, err)
		reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
		for {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			noError(t, err)
			documents = append(documents, document)
		}
	}
	return documents
}

func decodeStrictly(t *testing.T, id string, document []byte, into client.Object) {
	t.Helper()
	if err := yaml.UnmarshalStrict(document, into); err != nil {
		t.Errorf("%s: %v", id, err)
	}
}
