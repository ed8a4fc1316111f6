/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// rewriting puts a gateway in front of the API that replaces a text in all responses until it is corrected.
func rewriting(w *harness.World, cp *v1alpha1.CloudProject, from, to string) (correct func()) {
	w.Helper()
	api, err := url.Parse(w.HTTP.URL)
	if err != nil {
		w.Fatal(err)
	}
	var corrected atomic.Bool
	gateway := httputil.NewSingleHostReverseProxy(api)
	gateway.ModifyResponse = func(r *http.Response) error {
		body, err := io.ReadAll(r.Body)
		if !corrected.Load() {
			body = bytes.ReplaceAll(body, []byte(from), []byte(to))
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return err
	}
	server := httptest.NewServer(gateway)
	w.Cleanup(server.Close)
	cp.Spec.URL = server.URL
	return func() { corrected.Store(true) }
}

// A gateway rewrites host names in responses, and so a chosen machine ID: no list and no read shows the Agent's agent under its machine
// ID. The operator does not register again and again, continues once the gateway is corrected, and names what is left.
func TestMachineID_RewrittenOnTheWay_EndsRegistrations(t *testing.T) {
	t.Parallel()
	var correct func()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, func(w *harness.World, cp *v1alpha1.CloudProject) {
		correct = rewriting(w, cp, "corp.internal", "example.com")
	})
	w.Apply("web", machine("web-1.corp.internal"))
	w.Eventually("it is stalled", func() error {
		a := w.Get("web")
		if c := harness.Condition(a, v1alpha1.ConditionStalled); c.Reason == v1alpha1.ReasonRemoteMismatch {
			return nil
		}
		w.Poke("web")
		if harness.Condition(a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonRemoteMismatch { // It waits for a second check.
			w.Clock.Step(w.Settings.GoneDelay)
		}
		return fmt.Errorf("it is %s", harness.Describe(a))
	})
	if n := len(w.Remote()); n != 2 {
		t.Errorf("%d agents were registered, want 2", n)
	}
	correct()
	w.Poke("web")
	w.Ready("web")
	w.Clock.Step(2 * w.Settings.Slack)
	w.Eventually("the CloudProject names the other", func() error {
		w.Poke("web")
		handled(w, "web")
		w.PokeProject()
		if named := w.Project().Status.DuplicateAgents; len(named) != 1 || named[0] == w.Get("web").Status.ID {
			return fmt.Errorf("it names %v", named)
		}
		return nil
	})
}
