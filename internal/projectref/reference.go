/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package projectref says which CloudProject an Agent uses, whether it may, and which operator manages them.
package projectref

import (
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// AgentIndex is the field by which the cache finds the Agents of a CloudProject; its value is "namespace/name".
const AgentIndex = "spec.projectRef"

// AgentIndexer fills AgentIndex.
func AgentIndexer(defaultProject types.NamespacedName) client.IndexerFunc {
	return func(obj client.Object) []string {
		agent, ok := obj.(*v1alpha1.Agent)
		if !ok {
			return nil
		}
		key, ok := Ref(agent, defaultProject)
		if !ok || !CanExist(key) {
			return nil
		}
		return []string{key.String()}
	}
}

// CanExist reports whether an object can have this key. An object older than the validation of references may refer to
// impossible keys, which are never sent to the API server.
func CanExist(key types.NamespacedName) bool {
	return key.Name != "" && len(content.IsPathSegmentName(key.Name)) == 0 && len(content.IsPathSegmentName(key.Namespace)) == 0
}

// Ref returns the CloudProject that an Agent uses, and false if it names none and there is no default.
func Ref(agent *v1alpha1.Agent, defaultProject types.NamespacedName) (types.NamespacedName, bool) {
	ref := agent.Spec.ProjectRef
	switch {
	case ref == nil:
		return defaultProject, defaultProject.Name != ""
	case ref.Namespace == "":
		return types.NamespacedName{Namespace: agent.Namespace, Name: ref.Name}, true
	default:
		return types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}, true
	}
}
