/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package standstill has a view of a frozen cluster, for tests of single steps.
package standstill

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// View serves reads like a frozen cache or API server; all else panics.
type View struct {
	client.Client
	Agent    *v1alpha1.Agent
	Old      *v1alpha1.Agent // the older version in the API server's cache; may be nil
	Project  *v1alpha1.CloudProject
	Versions map[string]string // resourceVersions by "Kind/name"
}

// Get implements client.Reader.
func (v *View) Get(_ context.Context, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	var asked client.GetOptions
	asked.ApplyOptions(options)
	switch into := object.(type) {
	case *v1alpha1.Agent:
		if v.Old != nil && asked.Raw != nil && asked.Raw.ResourceVersion == "0" {
			v.Old.DeepCopyInto(into)
			return nil
		}
		if v.Agent != nil {
			v.Agent.DeepCopyInto(into)
			return nil
		}
	case *v1alpha1.CloudProject:
		if v.Project != nil && key == client.ObjectKeyFromObject(v.Project) {
			v.Project.DeepCopyInto(into)
			return nil
		}
	case *metav1.PartialObjectMetadata:
		if version, found := v.Versions[into.Kind+"/"+key.Name]; found {
			into.ResourceVersion = version
			return nil
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "things"}, key.Name)
}
