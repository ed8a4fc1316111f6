/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func annotated(key, value string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, value) }
}

var orphan = annotated(v1alpha1.AnnotationOrphan, "true")

func retain(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }

func adopting(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id} }
}

func machine(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.MachineID = id }
}

func lacks(text string, words []string) error {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return fmt.Errorf("%q lacks %q", text, word)
		}
	}
	return nil
}

// remove deletes an object and does not wait.
func remove(w *harness.World, object client.Object) {
	w.Helper()
	if err := client.IgnoreNotFound(w.Client.Delete(context.Background(), object)); err != nil {
		w.Fatal(err)
	}
}

// untilDeleted waits until an object is deleted.
func untilDeleted(w *harness.World, object client.Object) {
	w.Helper()
	w.Eventually(fmt.Sprintf("%T %s goes", object, object.GetName()), func() error {
		err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(object), object)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if cp, ok := object.(*v1alpha1.CloudProject); ok && err == nil {
			err = fmt.Errorf("its status is %+v", cp.Status)
		}
		return errors.Join(fmt.Errorf("it still exists, with finalizers %v", object.GetFinalizers()), err)
	})
}

// remoteIDs are the sorted IDs of the remote agents.
func remoteIDs(w *harness.World) []string {
	var ids []string
	for _, a := range w.Remote() {
		ids = append(ids, a.ID)
	}
	slices.Sort(ids)
	return ids
}

// remains checks that the cloud has exactly these agents.
func remains(w *harness.World, want ...string) {
	w.Helper()
	slices.Sort(want)
	if got := remoteIDs(w); !slices.Equal(got, want) {
		w.Errorf("the cloud has %v, want %v", got, want)
	}
}

// handled waits until the last requested sync is done.
func handled(w *harness.World, name string) *v1alpha1.Agent {
	w.Helper()
	var a *v1alpha1.Agent
	w.Eventually("the request to reconcile "+name+" is handled", func() error {
		if a = w.Get(name); a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	return a
}

// deleteWithoutOperator removes an Agent without finalization, as the loss of a cluster does.
func deleteWithoutOperator(w *harness.World, name string) {
	w.Helper()
	w.Change(name, func(a *v1alpha1.Agent) { a.Finalizers = nil })
	w.Delete(name)
	w.Gone(name)
}

// forget deletes a Secret that the garbage collector may delete at any time.
func forget(w *harness.World, name string) {
	w.Helper()
	remove(w, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: name}})
}
