/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/test/harness"
)

// unserved are the kinds on the pages that the API server does not have, with the test that checks them.
var unserved = map[string]string{
	"kustomize.config.k8s.io/v1beta1 Kustomization": "TestGitOpsWordForWord builds it",
}

// manifests are the YAML blocks of the pages, and the YAML files beside them.
func manifests(t *testing.T) (all []piece) {
	t.Helper()
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.lang == "yaml" {
				all = append(all, piece{at: b.at, text: b.text})
			}
		}
	}
	for _, path := range filesUnder(t, "docs", ".yaml") {
		all = append(all, piece{at: path, text: string(read(t, path))})
	}
	return all
}

// warnings collects the warnings of the API server.
type warnings struct{ all []string }

// HandleWarningHeader records a warning.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) { w.all = append(w.all, text) }

func TestEveryManifestIsTakenByTheServer(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	warned := &warnings{}
	config := rest.CopyConfig(harness.Plane().Config)
	config.WarningHandler = warned
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, m := range manifests(t) {
		objects, err := documents(m.text)
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
			continue
		}
		for _, object := range objects {
			kind := object.GetAPIVersion() + " " + object.GetKind()
			kinds[kind]++
			if kind == "v1 Secret" {
				t.Errorf("%s: a Secret is shown, so its value has to be written into a file: make it by a command", m.at)
			}
			if unserved[kind] != "" {
				continue
			}
			warned.all = nil
			if err := dryRun(t.Context(), c, object); err != nil || len(warned.all) > 0 {
				t.Errorf("%s: %s %q: %v %q", m.at, object.GetKind(), object.GetName(), err, warned.all)
			}
		}
	}
	for _, kind := range []string{"cloud.calyptia.com/v1alpha1 CloudProject", "cloud.calyptia.com/v1alpha1 Agent"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s was found among %v", kind, kinds)
		}
	}
	for kind := range unserved {
		if kinds[kind] == 0 {
			t.Errorf("no page shows a %s", kind)
		}
	}
}

// documents are the objects of a YAML stream.
func documents(text string) (objects []*unstructured.Unstructured, err error) {
	objects, _, err = separate(text)
	return objects, err
}

// separate splits a YAML stream into objects and fragments, which have no kind.
func separate(text string) (objects []*unstructured.Unstructured, fragments []any, err error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader([]byte(text))))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, fragments, nil
		} else if err != nil {
			return nil, nil, err
		}
		var content any
		if err := yaml.UnmarshalStrict(document, &content); err != nil {
			return nil, nil, err
		}
		fields, isObject := content.(map[string]any)
		if !isObject || fields["kind"] == nil || fields["apiVersion"] == nil {
			if content != nil { // A document may hold only comments.
				fragments = append(fragments, content)
			}
			continue
		}
		data, err := yaml.YAMLToJSON(document)
		if err != nil {
			return nil, nil, err
		}
		object := &unstructured.Unstructured{}
		if err := object.UnmarshalJSON(data); err != nil {
			return nil, nil, err
		}
		objects = append(objects, object)
	}
}

// dryRun applies an object as `kubectl apply --server-side --dry-run=server` does, in its namespace, which it creates.
func dryRun(ctx context.Context, c client.Client, object *unstructured.Unstructured) error {
	mapping, err := c.RESTMapper().RESTMapping(object.GroupVersionKind().GroupKind(), object.GroupVersionKind().Version)
	if err != nil {
		return err
	}
	if mapping.Scope.Name() == "namespace" {
		if object.GetNamespace() == "" {
			object.SetNamespace("default")
		}
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: object.GetNamespace()}}
		if err := c.Create(ctx, namespace); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	strict := client.WithFieldValidation(c, metav1.FieldValidationStrict)
	return strict.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), client.FieldOwner("docs"), client.DryRunAll)
}

// The check above must be able to fail.
func TestAWrongManifestIsRefused(t *testing.T) {
	c, err := client.New(harness.Plane().Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const right = "apiVersion: cloud.calyptia.com/v1alpha1\nkind: Agent\nmetadata: {name: a}\nspec: {type: fluentbit, version: v4.0.0, rawConfig: x%s}\n"
	for _, row := range []struct{ more, word string }{
		{"", ""},
		{", colour: red", "colour"},
		{", edition: deluxe", "edition"},
	} {
		objects, err := documents(fmt.Sprintf(right, row.more))
		if err != nil || len(objects) != 1 {
			t.Fatal(objects, err)
		}
		err = dryRun(t.Context(), c, objects[0])
		if row.word == "" && err != nil || row.word != "" && (err == nil || !strings.Contains(err.Error(), row.word)) {
			t.Errorf("with %q: %v", row.more, err)
		}
	}
}
