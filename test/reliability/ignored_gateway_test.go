/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// dropping is a gateway to an API that drops a field of each update.
func dropping(t *testing.T, to, field string) string {
	t.Helper()
	api, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(api)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			var fields map[string]json.RawMessage
			_ = json.NewDecoder(r.Body).Decode(&fields)
			delete(fields, field)
			body, _ := json.Marshal(fields)
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(gateway.Close)
	return gateway.URL
}

// A field that a gateway dropped is ignored. The user has the CloudProject's url lead past the gateway: what was learned behind it does not
// hold there.
func TestIgnoredField_OfAGateway_IsAppliedOnceTheURLLeadsPastIt(t *testing.T) {
	for _, policy := range []v1alpha1.SyncPolicy{v1alpha1.SyncEnforce, v1alpha1.SyncOnChange} {
		t.Run(string(policy), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.URL = dropping(t, w.HTTP.URL, "rawConfig")
			})
			id := w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = policy })).Status.ID
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# changed\n" })
			w.Eventually("the field is ignored", func() error {
				if a := w.Get("web"); len(a.Status.IgnoredFields) == 0 {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = w.HTTP.URL })
			w.Eventually("it is verified at the API itself", func() error {
				if a := w.Get("web"); a.Status.URL != w.HTTP.URL {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			w.Poke("web")
			handled(w, "web")
			a := w.Ready("web")
			if remote, _ := w.Cloud.Agent(id); remote.RawConfig != "# changed\n" || len(a.Status.IgnoredFields) > 0 {
				t.Errorf("the remote agent has the configuration %q, and the Agent ignores %v: %s",
					remote.RawConfig, a.Status.IgnoredFields, harness.Describe(a))
			}
		})
	}
}
