/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"errors"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// someNamespaces is a cache of some namespaces: it fails for all others.
type someNamespaces struct{ client.Client }

func (someNamespaces) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return errors.New("unknown namespace for the cache")
}

// Whoever writes Agents refers to any CloudProject. In a namespace that is not watched it must not be tried again for ever.
func TestReconcile_InAnUnwatchedNamespace_DoesNothing(t *testing.T) {
	r := &Reconciler{Client: someNamespaces{}, Namespaces: []string{"watched"}}
	elsewhere := ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "elsewhere", Name: "made-up"}}
	if result, err := r.Reconcile(t.Context(), elsewhere); err != nil || !result.IsZero() {
		t.Errorf("it returns %v, %v", result, err)
	}
}
