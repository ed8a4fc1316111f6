/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// largest records the size of the largest response of the API server to a request that matches, and what it was.
func largest(w *harness.World, matches func(*http.Request) bool) (size *atomic.Int64, what *atomic.Value) {
	size, what = &atomic.Int64{}, &atomic.Value{}
	what.Store("")
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		response, err := send(r)
		if err != nil || r.Method != http.MethodGet || r.URL.Query().Get("watch") != "" || !matches(r) {
			return response, err
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
		if n := int64(len(body)); n > size.Load() {
			size.Store(n)
			what.Store(r.URL.String())
		}
		return response, nil
	})
	w.Cleanup(func() { w.API.Around(nil) })
	return size, what
}

// Whoever may write Secrets writes any label, and makes them large. A page of them must not take the memory that all teams share: the
// operator reads few at once.
func TestAgentSet_LargeSecretsWithTheLabel_AreReadFewAtOnce(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.AgentSet("logs", tenant.StatefulSet("logs", 50), ofStatefulSet, func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Spec.ProjectRef.Namespace = w.Namespace
	})
	tenant.SetReady("logs", 50)
	for i := range 50 {
		tenant.Create(&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: fmt.Sprintf("large-%d", i),
				Labels: map[string]string{v1alpha1.LabelAgentUID: "0b7e0000-0000-4000-8000-000000000001"}},
			Data: map[string][]byte{"x": bytes.Repeat([]byte("x"), 400_000)},
		})
	}
	size, what := largest(w, func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/secrets") })
	tenant.ChangeSet("logs", func(set *v1alpha1.AgentSet) {
		metav1.SetMetaDataAnnotation(&set.ObjectMeta, v1alpha1.AnnotationReconcileAt, "now")
	})
	tenant.Eventually("the request is handled", func() error {
		var set v1alpha1.AgentSet
		if err := tenant.Client.Get(context.Background(), tenant.Key("logs"), &set); err != nil {
			return err
		}
		if set.Status.LastHandledReconcileAt != "now" {
			return errors.New("it is not")
		}
		return nil
	})
	tenant.SetReady("logs", 50)
	const most = 12 << 20
	if n := size.Load(); n > most {
		t.Errorf("a response to the operator has %d bytes, want %d at most: %s", n, most, what.Load())
	}
}
