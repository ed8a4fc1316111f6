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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// mostAtOnce is how many Agents of a namespace one response of the API server to the operator has at most.
func mostAtOnce(w *harness.World, namespace string) *atomic.Int64 {
	most, mark := &atomic.Int64{}, fmt.Appendf(nil, `"namespace":%q`, namespace)
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		response, err := send(r)
		if err != nil || r.Method != http.MethodGet || r.URL.Query().Get("watch") != "" || !strings.HasSuffix(r.URL.Path, "/agents") {
			return response, err
		}
		body, err := io.ReadAll(response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return nil, err
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
		most.Store(max(most.Load(), int64(bytes.Count(body, mark))))
		return response, nil
	})
	w.Cleanup(func() { w.API.Around(nil) })
	return most
}

// A team has large Agents, which are allowed nowhere. The deletion of a CloudProject of another team, which allows its own namespace
// only, must not read them into the memory that all teams share at once.
func TestDeleteCloudProject_LargeAgentsOfOthers_AreNotReadAtOnce(t *testing.T) {
	t.Parallel()
	w, tenant := outsider(t, cloudtest.Settings{})
	w.ProjectBecomes(metav1.ConditionTrue, "")
	for i := range 30 {
		tenant.Apply(fmt.Sprintf("large-%d", i), func(a *v1alpha1.Agent) {
			a.Spec.ProjectRef.Name = "none"
			a.Spec.RawConfig = strings.Repeat("#", 130_000)
			a.Annotations = map[string]string{"example.com/x": strings.Repeat("x", 250_000)}
		})
		tenant.NotReady(fmt.Sprintf("large-%d", i), v1alpha1.ReasonProjectNotFound)
	}
	most := mostAtOnce(w, tenant.Namespace)
	cp := w.Project()
	if err := w.Client.Delete(context.Background(), cp); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the CloudProject is deleted", func() error {
		err := w.Client.Get(context.Background(), w.Key("calyptia"), cp)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it is there"))
	})
	if n := most.Load(); n < 1 || n > 10 { // Each has more than 380 kB.
		t.Errorf("a response to the operator has %d of the large Agents, want 10 at most", n)
	}
}
