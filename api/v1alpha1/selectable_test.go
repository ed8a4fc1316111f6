/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// kubectl get agents --field-selector spec.projectRef.name=calyptia
func TestAgents_SelectedByProject(t *testing.T) {
	namespace := newNamespace(t)
	for name, spec := range map[string]string{
		"in":      `{projectRef: {name: calyptia}}`,
		"other":   `{projectRef: {name: other}}`,
		"default": `{}`,
	} {
		noError(t, kube.Create(t.Context(), newObject(t, "Agent", namespace, name, `{type: fluentbit, version: v4.0.0, rawConfig: a}`, spec)))
	}
	var agents v1alpha1.AgentList
	err := kube.List(t.Context(), &agents, client.InNamespace(namespace), client.MatchingFields{"spec.projectRef.name": "calyptia"})
	if !selectsFields(t) { // Kubernetes 1.30 takes the CRD and leaves these fields out.
		if !apierrors.IsBadRequest(err) {
			t.Errorf("the API server does not know the field, and says %v", err)
		}
		return
	}
	noError(t, err)
	if len(agents.Items) != 1 || agents.Items[0].Name != "in" {
		t.Errorf("selected %d Agents, want the one of the CloudProject alone", len(agents.Items))
	}
}

// selectsFields reports whether the API server kept the fields by which the CRD allows selecting Agents.
func selectsFields(t *testing.T) bool {
	t.Helper()
	file, err := os.ReadFile(filepath.Join(testenv.OwnCRDs(), "cloud.calyptia.com_agents.yaml"))
	noError(t, err)
	if !strings.Contains(string(file), "selectableFields:\n    - jsonPath: .spec.projectRef.name\n") {
		t.Fatal("the CRD does not let Agents be selected by their CloudProject")
	}
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	noError(t, kube.Get(t.Context(), client.ObjectKey{Name: "agents.cloud.calyptia.com"}, crd))
	versions, _, err := unstructured.NestedSlice(crd.Object, "spec", "versions")
	noError(t, err)
	_, kept := versions[0].(map[string]any)["selectableFields"]
	return kept
}
