/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

// expect is the expected state of a CloudProject.
type expect struct {
	ready   metav1.ConditionStatus
	reason  string
	message []string // parts of it
	stalled bool
	kstatus status.Status
}

var (
	verified = expect{ready: metav1.ConditionTrue, reason: v1alpha1.ReasonCredentialsVerified, kstatus: status.CurrentStatus}
)

// becomes waits until the CloudProject shows the expected state for its generation, and returns it.
func (w *world) becomes(cp *v1alpha1.CloudProject, want expect) *v1alpha1.CloudProject {
	w.Helper()
	var now v1alpha1.CloudProject
	w.eventually(fmt.Sprintf("Ready=%s %s %q", want.ready, want.reason, want.message), func() bool {
		noError(w, w.Client.Get(w.Context(), client.ObjectKeyFromObject(cp), &now))
		c := apimeta.FindStatusCondition(now.Status.Conditions, ready)
		if _, err := w.projects.Get(cp, cp.Namespace); err != nil && want.ready == metav1.ConditionTrue {
			return false // The status is written before the registry says so.
		}
		return c != nil && now.Status.ObservedGeneration == now.Generation && c.ObservedGeneration == now.Generation &&
			c.Status == want.ready && c.Reason == want.reason &&
			!slices.ContainsFunc(want.message, func(part string) bool { return !strings.Contains(c.Message, part) })
	}, func() string { return fmt.Sprintf("conditions: %+v\nlog: %s", now.Status.Conditions, w.logged()) })
	if stalled := apimeta.IsStatusConditionTrue(now.Status.Conditions, v1alpha1.ConditionStalled); stalled != want.stalled {
		w.Errorf("Stalled is %v, want %v", stalled, want.stalled)
	}
	if got := kstatusOf(w, &now); want.kstatus != "" && got != want.kstatus {
		w.Errorf("kstatus is %s, want %s", got, want.kstatus)
	}
	return &now
}

func kstatusOf(t testing.TB, cp *v1alpha1.CloudProject) status.Status {
	t.Helper()
	cp.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("CloudProject"))
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cp)
	noError(t, err)
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	noError(t, err)
	return result.Status
}

func (w *world) eventually(what string, done func() bool, explain ...func() string) {
	w.Helper()
	await.Eventually(w, what, func() error {
		if done() {
			return nil
		}
		text := "not yet"
		for _, f := range explain {
			text += "\n" + f()
		}
		return errors.New(text)
	})
}

// stays fails the test if a condition does not continue to hold.
func (w *world) stays(what string, holds func() bool) {
	w.Helper()
	err := wait.PollUntilContextTimeout(w.Context(), 20*time.Millisecond, 500*time.Millisecond, true,
		func(context.Context) (bool, error) { return !holds(), nil })
	if err == nil {
		w.Fatalf("it did not stay so that %s", what)
	}
}
