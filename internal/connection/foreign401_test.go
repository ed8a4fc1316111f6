/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A firewall's 401 to what one tenant sends has the credentials checked, and stops nobody. The API's own 401 stops all.
func TestLearn_401OfAProxy_ChecksAndStopsNobody(t *testing.T) {
	for _, row := range []struct {
		name, body string
		stops      bool
	}{
		{"a page", "<html>Blocked</html>", false},
		{"no body", "", false},
		{"a gateway's JSON", `{"message":"Unauthorized"}`, false},
		{"the API's own", `{"error":"invalid token"}`, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			checks := 0
			w.registry.OnNeedsVerification(func(client.ObjectKey) { checks++ })
			w.cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusUnauthorized, Body: row.body})
			for range 5 {
				_ = w.Update(t.Context(), somebody, otherID, cloud.Update{Name: new("other")})
			}
			if _, err := w.registry.Get(w.cp, somebody.Namespace); (err != nil) != row.stops {
				t.Errorf("the others: %v", err)
			}
			if checks == 0 {
				t.Error("the credentials are not checked")
			}
		})
	}
}

// Whoever has something in between respond with 401 all the time causes few checks: they are not within the rate limit.
func TestLearn_401OfAProxyAllTheTime_ChecksSeldom(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	checks := 0
	w.registry.OnNeedsVerification(func(client.ObjectKey) { checks++ })
	w.cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusUnauthorized, Body: "<html>Blocked</html>"})
	for range 100 {
		_ = w.Update(t.Context(), somebody, otherID, cloud.Update{Name: new("other")})
		w.clock.Step(100 * time.Millisecond)
	}
	if checks < 2 || checks > 3 {
		t.Errorf("%d checks in 10 seconds, want one in 5", checks)
	}
}
