/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
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
	noError(t, kube.List(t.Context(), &agents, client.InNamespace(namespace), client.MatchingFields{"spec.projectRef.name": "calyptia"}))
	if len(agents.Items) != 1 || agents.Items[0].Name != "in" {
		t.Errorf("selected %d Agents, want the one of the CloudProject alone", len(agents.Items))
	}
}
