/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package v1alpha1_test holds the CRDs against a real API server. No controller runs.
package v1alpha1_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// kube refuses unknown fields, so that a misspelt row fails.
var kube client.Client

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	plane, err := testenv.Start(context.Background(), testenv.Options{Controllers: []string{}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := 1
	if kube, err = newClient(plane); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := plane.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func newClient(plane *testenv.ControlPlane) (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(plane.Config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	return client.WithFieldValidation(c, metav1.FieldValidationStrict), nil
}

func newNamespace(t *testing.T) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "api-"}}
	noError(t, kube.Create(t.Context(), namespace))
	return namespace.Name
}

// newObject returns an object of this group: the specs are YAML, each merged into those before it (null removes).
func newObject(t *testing.T, kind, namespace, name string, specs ...string) *unstructured.Unstructured {
	t.Helper()
	object := &unstructured.Unstructured{Object: map[string]any{"spec": mergedSpec(t, specs...)}}
	object.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

func mergedSpec(t *testing.T, specs ...string) map[string]any {
	t.Helper()
	merged := []byte("{}")
	for _, spec := range specs {
		patch, err := yaml.YAMLToJSON([]byte(spec))
		noError(t, err)
		if len(spec) == 0 {
			continue
		}
		merged, err = jsonpatch.MergePatch(merged, patch)
		noError(t, err)
	}
	// As the client decodes, with whole numbers as int64.
	object := &unstructured.Unstructured{}
	noError(t, object.UnmarshalJSON([]byte(`{"apiVersion":"v1","kind":"x","spec":`+string(merged)+`}`)))
	spec, _, err := unstructured.NestedMap(object.Object, "spec")
	noError(t, err)
	return spec
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
