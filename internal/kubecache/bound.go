/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package kubecache

import (
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// What the cache keeps of metadata. Kubernetes bounds neither the labels, finalizers and owners of an object nor the number of its
// annotations, and in memory they take many times what they take in a request.
const (
	MostEntries = 128 // labels, and annotations
	MostOthers  = 64  // finalizers, and owners
	// longestOwner is more than any object has in its kind, name and UID together.
	longestOwner = 1024
)

// What the operator itself writes or reads is kept first.
var (
	ownLabels = []string{
		v1alpha1.LabelAgentUID, v1alpha1.LabelAgentSet, v1alpha1.LabelAgentSetKey, v1alpha1.LabelAgentSetUID, v1alpha1.LabelCloudProjectUID,
	}
	ownAnnotations = []string{
		v1alpha1.AnnotationReconcileAt, v1alpha1.AnnotationOrphan, v1alpha1.AnnotationOrphanAgents, v1alpha1.AnnotationRegistrationIntent,
		v1alpha1.AnnotationEndpoint, v1alpha1.AnnotationRemovalStarted,
	}
	ownFinalizers = []string{
		v1alpha1.AgentFinalizer, v1alpha1.CloudProjectFinalizer, metav1.FinalizerDeleteDependents, metav1.FinalizerOrphanDependents,
	}
)

// abridged replaces the managed fields of an object that the cache has only a part of. The API server knows no managed fields without an
// operation, so nobody can forge it.
var abridged = []metav1.ManagedFieldsEntry{{Manager: "abridged"}}

// Abridged reports whether the cache left out labels, annotations, finalizers or owners of an object. What it has of them is true, but
// a list of them must not be written.
func Abridged(o metav1.Object) bool {
	fields := o.GetManagedFields()
	return len(fields) == 1 && fields[0].Operation == "" && fields[0].Manager == abridged[0].Manager
}

// bound leaves out what an object has beyond the bounds, and returns its size. A transform may get what it returned.
func bound(o metav1.Object) (omitted int) {
	was := Abridged(o)
	o.SetManagedFields(nil)
	o.SetGenerateName("")
	o.SetSelfLink("")
	labels, fewer := most(o.GetLabels(), ownLabels)
	annotations, less := most(o.GetAnnotations(), ownAnnotations)
	finalizers, some := mostFinalizers(o.GetFinalizers())
	owners, few := mostOwners(o.GetOwnerReferences())
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	o.SetFinalizers(finalizers)
	o.SetOwnerReferences(owners)
	if omitted = fewer + less + some + few; omitted > 0 || was {
		o.SetManagedFields(abridged)
	}
	return omitted
}

// most returns the operator's own entries, and of the others the first by their keys: each replica and each shard keeps the same ones.
func most(all map[string]string, own []string) (kept map[string]string, omitted int) {
	if len(all) <= MostEntries {
		return all, 0
	}
	kept = make(map[string]string, MostEntries)
	for _, key := range own {
		if value, found := all[key]; found {
			kept[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if _, found := kept[key]; found || len(kept) < MostEntries {
			kept[key] = all[key]
		} else {
			omitted += len(key) + len(all[key])
		}
	}
	return kept, omitted
}

func mostFinalizers(all []string) (kept []string, omitted int) {
	if len(all) <= MostOthers {
		return all, 0
	}
	for _, name := range ownFinalizers {
		if slices.Contains(all, name) {
			kept = append(kept, name)
		}
	}
	for _, name := range all {
		if len(kept) < MostOthers && !slices.Contains(ownFinalizers, name) {
			kept = append(kept, name)
		} else {
			omitted += len(name)
		}
	}
	return kept, omitted
}

// mostOwners keeps the controller first.
func mostOwners(all []metav1.OwnerReference) (kept []metav1.OwnerReference, omitted int) {
	size := func(o metav1.OwnerReference) int { return len(o.APIVersion) + len(o.Kind) + len(o.Name) + len(o.UID) }
	long := func(o metav1.OwnerReference) bool { return size(o) > longestOwner }
	if len(all) <= MostOthers && !slices.ContainsFunc(all, long) {
		return all, 0
	}
	controls := func(o metav1.OwnerReference) bool { return o.Controller != nil && *o.Controller }
	if i := slices.IndexFunc(all, controls); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	for _, owner := range all {
		if len(kept) < MostOthers && !long(owner) {
			kept = append(kept, owner)
		} else {
			omitted += size(owner)
		}
	}
	return slices.Clip(kept), omitted
}

// share makes the labels and owners share their texts, which repeat on thousands of objects.
func share(o metav1.Object) {
	labels := o.GetLabels()
	all := make(map[string]string, len(labels))
	for key, value := range labels {
		all[intern(key)] = intern(value)
	}
	if len(labels) > 0 {
		o.SetLabels(all)
	}
	owners := o.GetOwnerReferences()
	for i := range owners {
		o := &owners[i]
		o.APIVersion, o.Kind, o.Name, o.UID = intern(o.APIVersion), intern(o.Kind), intern(o.Name), types.UID(intern(string(o.UID)))
		if o.Controller != nil {
			o.Controller = flag[*o.Controller]
		}
		if o.BlockOwnerDeletion != nil {
			o.BlockOwnerDeletion = flag[*o.BlockOwnerDeletion]
		}
	}
}
