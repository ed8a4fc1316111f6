/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// projectGone waits until the CloudProject of a World is deleted.
func projectGone(w *harness.World) {
	w.Helper()
	cp := &v1alpha1.CloudProject{}
	w.Eventually("the CloudProject is deleted", func() error {
		err := w.Client.Get(context.Background(), w.Key("calyptia"), cp)
		if apierrors.IsNotFound(err) {
			return nil
		}
		ready := meta.FindStatusCondition(cp.Status.Conditions, v1alpha1.ConditionReady)
		if ready == nil {
			ready = &metav1.Condition{}
		}
		return errors.Join(err, errors.New("it is there: "+ready.Reason+": "+ready.Message))
	})
}

// A CloudProject waits for the Agents of an allowed team that registered something, and for no others, whatever finalizers they have.
func TestDeleteCloudProject_AgentsOfAGuestThatRegisteredNothing_DoNotDelayIt(t *testing.T) {
	t.Parallel()
	suspended := func(a *v1alpha1.Agent) { a.Spec.Suspend = true }
	for name, agent := range map[string]struct {
		fault  *cloudtest.Fault
		change change
		reason string
	}{
		"the registration was refused": {
			fault: &cloudtest.Fault{
				Method: http.MethodPost, Status: http.StatusUnprocessableEntity, Body: `{"error": "unsupported agent version"}`,
				Header: http.Header{"Content-Type": {"application/json"}},
			},
			change: func(*v1alpha1.Agent) {}, reason: v1alpha1.ReasonInvalid,
		},
		"a forged finalizer": {
			change: func(a *v1alpha1.Agent) { finalized(a); suspended(a) }, reason: v1alpha1.ReasonSuspended,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			w.ProjectBecomes(metav1.ConditionTrue, "")
			if agent.fault != nil {
				w.Cloud.Inject(*agent.fault)
			}
			tenant.NotReady(w.Guest(tenant, "web", agent.change), agent.reason)
			if n := len(w.Remote()); n > 0 {
				t.Fatalf("%d remote agents", n)
			}
			if err := w.Client.Delete(t.Context(), w.Project()); err != nil {
				t.Fatal(err)
			}
			projectGone(w)
		})
	}
}

// The credentials of a CloudProject work, and were never copied, so nothing was registered with them. Its owner deletes everything
// while the operator is down. The forged intent of a stranger does not delay that.
func TestDeleteCloudProject_NeverCopied_ForgedIntentOfAStranger_IsNotDelayed(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.SetSecret("calyptia-credentials", map[string]string{"somebody": "else's"})
	stranger := w.In(w.AddNamespace("stranger"))
	w.Start(stranger.Namespace)
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretConflict)
	stranger.Stalled(w.Guest(stranger, "forged", forged), v1alpha1.ReasonProjectNotAllowed)
	w.Stop()
	if err := errors.Join(w.Client.Delete(t.Context(), w.Secret("calyptia-token")), w.Client.Delete(t.Context(), w.Project())); err != nil {
		t.Fatal(err)
	}
	w.Start(stranger.Namespace)
	projectGone(w)
}

// The operator has no rights in the namespace of a stranger, so it cannot read the labels that decide whether the CloudProject allows the
// namespace. The condition says what the deletion waits for.
func TestDeleteCloudProject_NamespaceOfAStrangerCannotBeRead_SaysSo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSelector,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "guest"}}}
	})
	stranger := w.In(w.AddNamespace("stranger"))
	w.Start(stranger.Namespace)
	w.ProjectBecomes(metav1.ConditionTrue, "")
	stranger.Stalled(w.Guest(stranger, "forged", forged), v1alpha1.ReasonProjectNotAllowed)
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != http.MethodGet || r.URL.Path != "/api/v1/namespaces/"+stranger.Namespace {
			return send(r)
		}
		const body = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","message":"namespaces is forbidden","code":403}`
		return &http.Response{
			StatusCode: http.StatusForbidden, Status: "403 Forbidden", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	})
	t.Cleanup(func() { w.API.Around(nil) })
	if err := w.Client.Delete(t.Context(), w.Project()); err != nil {
		t.Fatal(err)
	}
	w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonInUse, stranger.Namespace)
}
