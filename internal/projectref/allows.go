/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package projectref

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Allows reports whether a CloudProject allows Agents of a namespace. The labels of the namespace are read with
// reader. A selector that is not valid is a terminal failure.
func Allows(ctx context.Context, reader client.Reader, cp *v1alpha1.CloudProject, namespace string) (bool, error) {
	allowed := cp.Spec.AllowedNamespaces
	switch {
	case cp.Namespace == namespace:
		return true, nil
	case allowed == nil || allowed.From == v1alpha1.NamespacesFromSame || allowed.From == "":
		return false, nil
	case allowed.From == v1alpha1.NamespacesFromAll:
		return true, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(allowed.Selector)
	if err != nil {
		return false, fault.Terminalf(v1alpha1.ReasonProjectNotAllowed,
			"spec.allowedNamespaces.selector of CloudProject %s/%s is not valid: correct it", cp.Namespace, cp.Name).
			Coded(fault.ProjectNotAllowed)
	}
	object := metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	if err := reader.Get(ctx, client.ObjectKey{Name: namespace}, &object); err != nil {
		return false, err
	}
	return selector.Matches(labels.Set(object.Labels)), nil
}
