/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// managedBy is on all that the operator creates.
const managedBy = "app.kubernetes.io/managed-by"

// OwnershipOf says whose an Agent is.
func OwnershipOf(set *v1alpha1.AgentSet, agent *v1alpha1.Agent) Ownership {
	controller := metav1.GetControllerOfNoCopy(agent)
	former := controller != nil && controller.Kind == "AgentSet" && controller.Name == set.Name &&
		controller.APIVersion == v1alpha1.GroupVersion.String()
	switch {
	case controller != nil && controller.UID == set.UID:
		return Own
	case agent.Labels[v1alpha1.LabelAgentSet] == set.Name && (controller == nil || former):
		return Adoptable
	default:
		return Foreign
	}
}

// OwnerReference makes an object the set's own.
func OwnerReference(set *v1alpha1.AgentSet) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "AgentSet", Name: set.Name, UID: set.UID,
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(false),
	}
}

// Build is the Agent of a set for a node or replica. existing is the Agent as it is; nil if there is none. The other
// fields of an existing Agent stay: its suspend, its IDs, the annotations and labels that the template does not have.
// immutable names a field that differs from the template and cannot be changed.
func Build(set *v1alpha1.AgentSet, key string, existing *v1alpha1.Agent) (agent *v1alpha1.Agent, immutable string) {
	agent = &v1alpha1.Agent{}
	if existing != nil {
		existing.ObjectMeta.DeepCopyInto(&agent.ObjectMeta)
	}
	agent.Namespace, agent.Name = set.Namespace, AgentName(set.Name, key)
	metadata := &set.Spec.Template.Metadata
	agent.Labels = with(agent.Labels, metadata.Labels, map[string]string{
		managedBy: "calyptia-agent-operator", v1alpha1.LabelAgentSet: set.Name, v1alpha1.LabelAgentSetKey: Slot(key),
	})
	annotations := maps.Clone(metadata.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation) // It is of whoever applies the Agent itself, and the cache leaves its value out.
	agent.Annotations = with(agent.Annotations, annotations)
	delete(agent.Annotations, v1alpha1.AnnotationRemovalStarted)
	own(agent, set)
	set.Spec.Template.Spec.DeepCopyInto(&agent.Spec)
	agent.Spec.Name = HostName(key)
	if existing == nil {
		return agent, ""
	}
	agent.Spec.MachineID, agent.Spec.AgentID = existing.Spec.MachineID, existing.Spec.AgentID
	agent.Spec.Suspend = existing.Spec.Suspend
	if existing.Spec.Type != agent.Spec.Type {
		if existing.Spec.Type != "" {
			immutable = "type"
		}
		agent.Spec.Type = existing.Spec.Type
	}
	return agent, immutable
}

// own makes the set the only controller of an Agent.
func own(agent *v1alpha1.Agent, set *v1alpha1.AgentSet) {
	for i := range agent.OwnerReferences {
		if ptr.Deref(agent.OwnerReferences[i].Controller, false) {
			if agent.OwnerReferences[i].UID != set.UID {
				agent.OwnerReferences[i] = OwnerReference(set)
			}
			return
		}
	}
	agent.OwnerReferences = append(agent.OwnerReferences, OwnerReference(set))
}

func with(base map[string]string, more ...map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, base)
	for _, some := range more {
		maps.Copy(all, some)
	}
	return all
}

// Same reports whether an Agent is what Build made of it. The cache leaves out an applied configuration, and keeps its
// hash.
func Same(existing, built *v1alpha1.Agent) bool {
	return maps.Equal(existing.Labels, built.Labels) && maps.Equal(existing.Annotations, built.Annotations) &&
		reflect.DeepEqual(existing.OwnerReferences, built.OwnerReferences) && sameSpec(&existing.Spec, &built.Spec)
}

// Difference names what of an Agent is not what Build made of it; empty for nothing.
func Difference(existing, built *v1alpha1.Agent) string {
	switch {
	case !maps.Equal(existing.Labels, built.Labels):
		return "label " + differing(existing.Labels, built.Labels)
	case !maps.Equal(existing.Annotations, built.Annotations):
		return "annotation " + differing(existing.Annotations, built.Annotations)
	case !reflect.DeepEqual(existing.OwnerReferences, built.OwnerReferences):
		return "owner"
	case !sameSpec(&existing.Spec, &built.Spec):
		return "spec"
	default:
		return ""
	}
}

// differing is the first key whose values differ.
func differing(a, b map[string]string) string {
	for _, key := range slices.Sorted(maps.Keys(with(a, b))) {
		was, had := a[key]
		is, has := b[key]
		if had != has || was != is {
			return key
		}
	}
	return ""
}

func sameSpec(existing, built *v1alpha1.AgentSpec) bool {
	a, b := *existing, *built
	if a.RawConfigHash != "" {
		a.RawConfig = ""
		if b.RawConfig != "" && cloud.Hash(b.RawConfig) == a.RawConfigHash {
			a.RawConfig = b.RawConfig
		}
	}
	a.RawConfigHash, b.RawConfigHash = "", ""
	if existing.RawConfigHash != "" && built.RawConfig == "" {
		return false
	}
	if !sameJSON(a.Metadata, b.Metadata) {
		return false
	}
	a.Metadata, b.Metadata = nil, nil
	return reflect.DeepEqual(a, b)
}

func sameJSON(a, b *apiextensionsv1.JSON) bool {
	if a == nil || b == nil {
		return a == b
	}
	return string(a.Raw) == string(b.Raw) || bytes.Equal(cloud.Canonical(a.Raw), cloud.Canonical(b.Raw))
}

// RemovalStarted reads since when an Agent waits for its removal; zero if it does not, or if that cannot be read.
func RemovalStarted(agent *v1alpha1.Agent) (started time.Time, marked bool) {
	text, marked := agent.Annotations[v1alpha1.AnnotationRemovalStarted]
	if !marked {
		return time.Time{}, false
	}
	started, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, true
	}
	return started, true
}
