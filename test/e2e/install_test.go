/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestInstallUpgradeUninstall is the life of a release, with real pods throughout.
func TestInstallUpgradeUninstall(t *testing.T) {
	install(t)
	if err := allReady(t.Context(), 2); err != nil {
		t.Fatalf("helm waited, and %v", err)
	}
	w := newTeam(t)
	w.declare("first")
	w.exact(1)
	t.Run("helm test passes", func(t *testing.T) {
		out := helm(t, "test", operator, "--namespace", operatorNamespace, "--timeout=3m")
		if !strings.Contains(out, "Succeeded") {
			t.Error(out)
		}
	})
	t.Run("an upgrade loses and duplicates no agent", func(t *testing.T) { rolls(t, w) })
	t.Run("uninstalled in the documented order, nothing is left", func(t *testing.T) {
		w.leave()
		helm(t, "uninstall", operator, "--namespace", operatorNamespace, "--wait")
		eventually(t, "pods are left", func(ctx context.Context) error {
			var list corev1.PodList
			if err := here.client.List(ctx, &list, client.InNamespace(operatorNamespace)); err != nil || len(list.Items) > 0 {
				return fmt.Errorf("%d: %w", len(list.Items), err)
			}
			return nil
		})
	})
}

// rolls upgrades while Agents are being created.
func rolls(t *testing.T, w *team) {
	before := must(pods(t.Context()))(t)
	const more = 60
	declared := make(chan struct{})
	go func() {
		defer close(declared)
		for _, name := range names("rolling", more) {
			w.declare(name)
		}
	}()
	install(t, "podAnnotations.rolled=yes")
	<-declared
	for _, pod := range must(pods(t.Context()))(t) {
		if pod.Name == before[0].Name || pod.Name == before[1].Name {
			t.Errorf("pod %s is an old one", pod.Name)
		}
	}
	w.exact(1 + more)
	if got := w.registrations(); got != 1+more {
		t.Errorf("%d registrations were sent for %d Agents", got, 1+more)
	}
	if got := restarts(t); got != 0 {
		t.Errorf("containers were restarted %d times", got)
	}
}

// TestOtherPodsAreRefused checks that the namespaces enforce the standard that the operator's pods meet.
func TestOtherPodsAreRefused(t *testing.T) {
	namespace(t, operatorNamespace, restricted)
	err := here.client.Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "privileged"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "a", Image: image(fetchImage), SecurityContext: &corev1.SecurityContext{Privileged: new(true)},
		}}},
	})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "restricted") {
		t.Errorf("a privileged pod gets %v", errors.Join(err))
	}
}
