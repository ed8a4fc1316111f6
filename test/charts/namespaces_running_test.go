/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// TestAWatchedNamespaceIsDeletedMeanwhile while the operator runs, with an Agent that waits for its Secret.
func TestAWatchedNamespaceIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	w := watchingOf(t, installOn(t, must(breakable())(t), "meanwhile", true, nil))
	w.restart()
	w.registers(w.other, "far")
	w.deletes(w.other)
	w.shows(w.other, 0)
	w.shows(w.home, 1)
	w.check(w.plane.RestartAPIServer()) // This ends the watches, which would otherwise continue.
	w.registers(w.home, "web")
	w.runs()
	if got := w.lines(notWatched); got != 1 {
		t.Errorf("%d lines of the log say that the namespace is not watched, want 1", got)
	}
	if got := w.lines("Failed to watch", "forbidden", w.other); got > 0 {
		t.Errorf("%d log lines about single attempts", got)
	}
	w.types("give-up", w.other)
	w.namespaceGone(w.other)
	w.returns(w.other)
	w.registers(w.other, "back")
	w.runs()
}

// TestNoWatchedNamespaceExists leaves the operator Ready, because a restart of the pod would not bring them back.
func TestNoWatchedNamespaceExists(t *testing.T) {
	t.Parallel()
	w := newWatching(t, "none")
	for _, namespace := range []string{w.home, w.other} {
		w.deletes(namespace)
		w.namespaceGone(namespace)
	}
	w.restart()
	w.shows(w.other, 0)
	w.shows(w.home, 0)
	w.returns(w.home)
	w.check(w.create(t.Context(), w.project("calyptia")...))
	w.registers(w.home, "web")
	w.shows(w.home, 1)
	w.runs()
}

// TestTheNamespaceOfACloudProjectIsDeleted with its contents, while an Agent elsewhere uses it.
func TestTheNamespaceOfACloudProjectIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWatching(t, "project")
	w.restart()
	w.registers(w.home, "web")
	w.registers(w.other, "far")
	w.running.stop()
	w.deletes(w.home)
	w.restart()
	w.check(w.c.Delete(t.Context(), &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.other, Name: "far"}}))
	w.shows(w.home, 0)
	w.types("rescue", w.home)
	w.check(w.gone(t.Context(), &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.other, Name: "far"}}))
	if left := w.cloud.Agents(w.projectID); len(left) > 0 {
		t.Errorf("%d remote agents are left, want none", len(left))
	}
	w.runs()
}

// TestCloudProjectsGoWithoutAWatchedNamespace in which the operator cannot search for Agents that need them.
func TestCloudProjectsGoWithoutAWatchedNamespace(t *testing.T) {
	t.Parallel()
	w := newWatching(t, "leaves")
	own := w.project("own")
	own[1].(*v1alpha1.CloudProject).Spec.AllowedNamespaces = nil
	w.check(w.create(t.Context(), own...))
	w.deletes(w.other)
	w.namespaceGone(w.other)
	w.restart()
	shared := &v1alpha1.CloudProject{ObjectMeta: w.at("calyptia")}
	for _, project := range []client.Object{own[1], shared} {
		w.check(await.Until(t.Context(), "it has no finalizer", func(ctx context.Context) error {
			if err := w.c.Get(ctx, client.ObjectKeyFromObject(project), project); err != nil || len(project.GetFinalizers()) > 0 {
				return err
			}
			return errors.New("none yet")
		}))
		w.check(w.c.Delete(t.Context(), project))
	}
	w.check(w.gone(t.Context(), own[1]))
	w.check(await.Until(t.Context(), "it does not say what it waits for", func(ctx context.Context) error {
		if err := w.c.Get(ctx, client.ObjectKeyFromObject(shared), shared); err != nil {
			return err
		}
		ready := meta.FindStatusCondition(shared.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil || ready.Reason != v1alpha1.ReasonInUse || !strings.Contains(ready.Message, "namespace "+w.other) {
			return fmt.Errorf("%v", shared.Status.Conditions)
		}
		return nil
	}))
	w.check(change(t.Context(), w.c, shared, func(cp *v1alpha1.CloudProject) {
		metav1.SetMetaDataAnnotation(&cp.ObjectMeta, v1alpha1.AnnotationOrphanAgents, "true")
	}))
	w.check(w.gone(t.Context(), shared))
}

// TestAWatchedNamespaceIsRemoved in the order that the README gives.
func TestAWatchedNamespaceIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWatching(t, "left")
	w.restart()
	w.registers(w.other, "far")
	w.types("leave", w.other)
	w.namespaceGone(w.other)
	if left := w.cloud.Agents(w.projectID); len(left) > 0 {
		t.Errorf("%d remote agents are left, want none", len(left))
	}
}

// TestHelmRestoresTheRoleOfAWatchedNamespace as the runbook says, without a restart of the operator.
func TestHelmRestoresTheRoleOfAWatchedNamespace(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.operatorValues(values{"watchNamespaces": []string{agentsNamespace}, "clusterID": "blue"})
	s.types("install")
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: agentsNamespace, Name: operatorName + "-manager"}}
	if err := s.c.Delete(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	s.run()
	s.types("upgrade")
	s.agents()
	s.remote(2)
	s.types("uninstall")
	s.running.stop()
	s.types("crds")
}
