/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package kubecache says what the cache of Kubernetes objects keeps, which watch events matter, and when the cache is behind
// a write of this process.
package kubecache

import (
	"unique"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Trim is the transform of the controllers' cache: it drops what no controller reads, and bounds what anybody may write. Cached objects
// are therefore only patched, never written back. Of an applied configuration the hash is enough. It may get an object that it returned.
func Trim(object any) (any, error) {
	o, ok := object.(client.Object)
	if !ok {
		return object, nil
	}
	a, agent := object.(*v1alpha1.Agent)
	if agent {
		trimAgent(a)
	}
	if m, ok := object.(*metav1.PartialObjectMetadata); ok {
		trimMetadata(m)
	}
	if annotations := o.GetAnnotations(); annotations[corev1.LastAppliedConfigAnnotation] != "" {
		annotations[corev1.LastAppliedConfigAnnotation] = "" // Without the key a map could look empty, and be replaced as a whole.
		o.SetAnnotations(annotations)
	}
	omitted := bound(o)
	if agent {
		a.OmittedBytes += omitted
	}
	share(o)
	return object, nil
}

// trimAgent drops an applied configuration, and records the size of that and of what Trim drops of all objects.
func trimAgent(a *v1alpha1.Agent) {
	a.OmittedBytes += len(a.Annotations[corev1.LastAppliedConfigAnnotation])
	for i := range a.ManagedFields {
		if fields := a.ManagedFields[i].FieldsV1; fields != nil {
			a.OmittedBytes += len(fields.GetRawBytes())
		}
	}
	if a.Spec.RawConfig == "" || a.Status.Applied.Generation != a.Generation {
		return
	}
	if hash := cloud.Hash(a.Spec.RawConfig); hash == a.Status.Applied.Fields[v1alpha1.FieldRawConfig] {
		a.OmittedBytes += len(a.Spec.RawConfig)
		a.Spec.RawConfig, a.Spec.RawConfigHash = "", hash
	}
}

// intern returns the text that all equal texts share.
func intern(text string) string { return unique.Make(text).Value() }

// flag has the two values that all pointers of cached objects share: these are never written.
var flag = map[bool]*bool{true: new(true), false: new(false)}

// trimMetadata keeps only the name, the version and the owner of a Secret or ConfigMap: most of them are irrelevant here.
func trimMetadata(m *metav1.PartialObjectMetadata) {
	all := m.ObjectMeta
	m.ObjectMeta = Identity(all)
	m.UID = ""
	for _, label := range []string{v1alpha1.LabelAgentUID, v1alpha1.LabelCloudProjectUID, v1alpha1.LabelAgentSetUID} {
		if value, ours := all.Labels[label]; ours {
			metav1.SetMetaDataLabel(&m.ObjectMeta, label, value)
			m.OwnerReferences, m.UID, m.ManagedFields = all.OwnerReferences, all.UID, all.ManagedFields
		}
	}
}

// Identity is what the cache keeps of the metadata of an object whose labels, annotations, finalizers and owners nobody reads.
func Identity(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion, Generation: m.Generation,
		CreationTimestamp: m.CreationTimestamp, DeletionTimestamp: m.DeletionTimestamp,
	}
}

// News is a predicate for watches of referenced objects. Of the initial objects it selects only those with the label: a
// cluster may have very many, and the objects that refer to the others are reconciled at the start anyway.
func News(label string) predicate.Predicate {
	return predicate.Funcs{CreateFunc: func(e event.CreateEvent) bool {
		_, ours := e.Object.GetLabels()[label]
		return ours || !e.IsInInitialList
	}}
}

// Behind reports whether the cache shows an object as it was before a write of this process. Decisions from such a view
// are wrong: above all, that there is nothing to write.
func Behind(cached client.Object, written string) bool {
	if written == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(cached.GetResourceVersion(), written)
	return err == nil && order < 0
}
