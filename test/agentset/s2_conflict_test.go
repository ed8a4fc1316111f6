/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A webhook of the cluster denies writes with 409.
func TestS2_AWebhookDeniesWith409(t *testing.T) {
	for name, row := range map[string]func(r *http.Request) bool{
		"agents are created":   func(r *http.Request) bool { return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/agents") },
		"sessions are stored":  func(r *http.Request) bool { return r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets") && r.ContentLength > 0 && r.Header.Get("S2") != "" },
		"status of the set": func(r *http.Request) bool {
			return r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/agentsets/db/status")
		},
	} {
		if name == "sessions are stored" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			var denied atomic.Int32
			w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
				if row(r) && strings.Contains(r.URL.Path, w.Namespace) {
					denied.Add(1)
					return harness.Refusal(r, http.StatusConflict, metav1.StatusReasonConflict, `admission webhook "x" denied the request: not twice`)
				}
				return send(r)
			})
			w.AgentSet("db", w.StatefulSet("db", 20), ofStatefulSet)
			time.Sleep(20 * time.Second)
			set := w.GetSet("db")
			t.Logf("denied %d; %+v", denied.Load(), set.Status.Conditions)
			if n := denied.Load(); n > 120 {
				t.Errorf("%d writes were denied in 20 s, want a backoff", n)
			}
		})
	}
}
