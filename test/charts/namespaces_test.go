/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// watching is an installation with Roles in two namespaces, and a run of its operator.
type watching struct {
	*testing.T
	*installation
	running *operator
}

func newWatching(t *testing.T, name string) *watching {
	t.Helper()
	return watchingOf(t, install(t, name, true, nil))
}

func watchingOf(t *testing.T, i *installation) *watching {
	t.Helper()
	w := &watching{T: t, installation: i}
	w.check(w.create(t.Context(), w.project("calyptia")...))
	return w
}

func (w *watching) check(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// restart starts the operator, after stopping it if it runs, as a kubelet does.
func (w *watching) restart() {
	w.Helper()
	if w.running != nil {
		w.running.stop()
	}
	w.running = startOperator(w, w.plane, w.deployment)
	w.check(w.running.ready(w.Context(), w.deployment))
}

// runs checks that the last started process of the operator still runs.
func (w *watching) runs() {
	w.Helper()
	if w.running.Ended() {
		w.Fatalf("the operator ended: %s", w.running.Command.ProcessState)
	}
}

// registers creates an Agent and waits until it is Ready.
func (w *watching) registers(namespace, name string) *v1alpha1.Agent {
	w.Helper()
	agent := w.agent(metav1.ObjectMeta{Namespace: namespace, Name: name})
	w.check(w.create(w.Context(), agent))
	w.check(w.condition(w.Context(), agent.ObjectMeta, v1alpha1.ConditionReady))
	return agent
}

// deletes deletes a namespace, and waits until nothing is left in it that grants rights to the operator.
func (w *watching) deletes(namespace string) {
	w.Helper()
	w.check(w.c.Delete(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}))
	w.check(await.Until(w.Context(), "the Roles stay", func(ctx context.Context) error {
		var roles rbacv1.RoleList
		var bindings rbacv1.RoleBindingList
		err := errors.Join(w.c.List(ctx, &roles, client.InNamespace(namespace)), w.c.List(ctx, &bindings, client.InNamespace(namespace)))
		if left := len(roles.Items) + len(bindings.Items); err == nil && left > 0 {
			return fmt.Errorf("%d are left", left)
		}
		return err
	}))
}

// namespaceGone waits until a namespace is deleted.
func (w *watching) namespaceGone(name string) {
	w.Helper()
	w.check(w.gone(w.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
}

// returns creates the namespace again, with its Role and RoleBinding of the chart.
func (w *watching) returns(namespace string) {
	w.Helper()
	if err := w.c.Get(w.Context(), client.ObjectKey{Name: namespace}, &corev1.Namespace{}); apierrors.IsNotFound(err) {
		createNamespace(w, w.c, namespace, allowedLabel)
	}
	for _, kind := range []string{"Role", "RoleBinding"} {
		for _, object := range ofKind(w.objects, kind) {
			if object.GetNamespace() == namespace {
				w.check(w.c.Create(w.Context(), again(object)))
			}
		}
	}
}

// again is an object without the fields that the API server set.
func again(object *unstructured.Unstructured) *unstructured.Unstructured {
	fresh := object.DeepCopy()
	for _, field := range []string{"uid", "resourceVersion", "creationTimestamp", "managedFields"} {
		unstructured.RemoveNestedField(fresh.Object, "metadata", field)
	}
	return fresh
}

// shows waits until the metric reports whether a namespace is watched.
func (w *watching) shows(namespace string, watched int) {
	w.Helper()
	want := fmt.Sprintf("calyptia_agent_operator_namespace_watched{watched_namespace=%q} %d\n", namespace, watched)
	w.check(await.Until(w.Context(), "the metric does not report it", func(ctx context.Context) error {
		_, body, err := w.scrape(ctx, w.reader)
		if err == nil && !strings.Contains(body, want) {
			return fmt.Errorf("no %s", want)
		}
		return err
	}))
}

// lines counts the log lines that contain all these words.
func (w *watching) lines(words ...string) (count int) {
	w.Helper()
	for line := range strings.SplitSeq(string(must(os.ReadFile(w.running.log))(w)), "\n") {
		has := true
		for _, word := range words {
			has = has && strings.Contains(line, word)
		}
		if has {
			count++
		}
	}
	return count
}

const notWatched = "Namespace is not watched"

// TestAWatchedNamespaceIsDeleted with an Agent in it, which nobody may delete any more.
func TestAWatchedNamespaceIsDeleted(t *testing.T) {
	t.Parallel()
	w := newWatching(t, "deleted")
	w.restart()
	far := w.registers(w.other, "far")
	w.running.stop() // So that it is certainly too late for the Agent.
	w.deletes(w.other)

	w.restart()
	w.registers(w.home, "web")
	w.shows(w.other, 0)
	w.shows(w.home, 1)
	if got := w.lines(notWatched, fmt.Sprintf("%q", w.other), "--watch-namespaces"); got != 1 {
		t.Errorf("%d lines of the log say that the namespace is not watched, want 1", got)
	}
	w.check(await.Until(t.Context(), "no Agent waits", func(ctx context.Context) error {
		if err := w.c.Get(ctx, client.ObjectKeyFromObject(far), far); err != nil || far.DeletionTimestamp != nil {
			return err
		}
		return errors.New("it is not being deleted")
	}))

	w.types("rescue", w.other)
	if left := w.cloud.Agents(w.projectID); len(left) != 1 || left[0].Name != "web" {
		t.Errorf("remote agents: %v, want web alone", left)
	}
	w.returns(w.other)
	w.registers(w.other, "back")
	w.shows(w.other, 1)
	w.runs()
}

// rescue serializes the commands "rescue", whose cluster-wide role has the same name for all.
var rescue sync.Mutex

// types runs commands of the README, with the names of this installation.
func (w *watching) types(block, namespace string) {
	w.Helper()
	commands := strings.NewReplacer(
		"=calyptia-agent-operator-system:calyptia-agent-operator", "="+w.system+":"+w.deployment.Spec.Template.Spec.ServiceAccountName,
		"logging", namespace,
	).Replace(readme(w, block))
	if block == "rescue" {
		rescue.Lock()
		defer rescue.Unlock()
	}
	must(shell(w.Context(), w, w.plane, testenv.ModuleRoot(), commands))(w)
}
