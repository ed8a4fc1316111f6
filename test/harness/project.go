/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Project reads the World's CloudProject.
func (w *World) Project() *v1alpha1.CloudProject {
	w.Helper()
	var cp v1alpha1.CloudProject
	if err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp); err != nil {
		w.Fatal(err)
	}
	return &cp
}

// ChangeProject patches the World's CloudProject as a user would.
func (w *World) ChangeProject(change func(*v1alpha1.CloudProject)) {
	w.Helper()
	cp := w.Project()
	w.Edit(cp, func() { change(cp) })
}

// PokeProject requests a reconciliation of the CloudProject now.
func (w *World) PokeProject() {
	w.Helper()
	w.ChangeProject(func(cp *v1alpha1.CloudProject) {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationReconcileAt, uuid.NewString())
	})
}

// ProjectHandled waits until the last request to reconcile the CloudProject is handled.
func (w *World) ProjectHandled() {
	w.Helper()
	w.Eventually("the request to reconcile the CloudProject is handled", func() error {
		if cp := w.Project(); cp.Status.LastHandledReconcileAt != cp.Annotations[v1alpha1.AnnotationReconcileAt] {
			return fmt.Errorf("the last one is %q", cp.Status.LastHandledReconcileAt)
		}
		return nil
	})
}

// ProjectBecomes waits until Ready of the CloudProject has a status, a reason unless it is empty, and a message that
// contains all words.
func (w *World) ProjectBecomes(status metav1.ConditionStatus, reason string, words ...string) {
	w.Helper()
	w.Eventually(fmt.Sprintf("the CloudProject becomes Ready=%s %s", status, reason), func() error {
		ready := meta.FindStatusCondition(w.Project().Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Status != status || reason != "" && ready.Reason != reason {
			return fmt.Errorf("Ready is %+v", ready)
		}
		for _, word := range words {
			if !strings.Contains(ready.Message, word) {
				return fmt.Errorf("the message %q lacks %q", ready.Message, word)
			}
		}
		return nil
	})
}
