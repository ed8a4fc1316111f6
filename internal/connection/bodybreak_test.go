/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// A filter rejects the configuration of one Agent in its own words: that is no outage for the other namespaces.
func TestBreaker_OneAgentsBodyIsRejectedByAProxy_StaysClosed(t *testing.T) {
	for _, row := range []struct {
		name   string
		status int // 0: the connection is dropped
	}{
		{"dropped", 0},
		{"a bad gateway's page", http.StatusBadGateway},
		{"a page of trouble", http.StatusServiceUnavailable},
		{"a page to log in", http.StatusFound},
		{"a bad request", http.StatusBadRequest},
		{"blocked", http.StatusForbidden},
		{"hidden", http.StatusNotFound},
		{"the proxy's own", http.StatusProxyAuthRequired},
		{"too slow", http.StatusRequestTimeout},
		{"legal", http.StatusUnavailableForLegalReasons},
		{"a status that does not exist", 999},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.Expect(map[string]int{"a": 1, "b": 20})
			id := w.register("m")
			refusal := cloudtest.Fault{Method: http.MethodPatch, Status: row.status, Body: "<html>blocked</html>"}
			if row.status == 0 {
				refusal.Cut = cloudtest.CutBefore
			}
			w.cloud.Inject(refusal)
			config := "x"
			for range 10 {
				err := w.Update(t.Context(), ratelimit.Caller{UID: "bad", Namespace: "a"}, id, cloud.Update{RawConfig: &config})
				if err == nil {
					t.Fatal("the configuration was accepted")
				}
			}
			if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil {
				t.Errorf("all wait: %v", err)
			}
			if _, err := w.Get(t.Context(), ratelimit.Caller{UID: "good", Namespace: "b"}, id); err != nil {
				t.Errorf("another namespace: %v", err)
			}
		})
	}
}

// What the agents of a namespace hold may have something in between drop the responses to reads. That is not an outage for the
// other namespaces, unless the credential check has no response either.
func TestBreaker_AgentsThatCannotBeReadBack_AreNoOutage(t *testing.T) {
	for name, fault := range map[string]cloudtest.Fault{
		"dropped":             {Cut: cloudtest.CutBefore},
		"cut short":           {Truncate: 5},
		"a bad gateway":       {Status: http.StatusBadGateway, Body: "<html>blocked</html>"},
		"a page of trouble":   {Status: http.StatusServiceUnavailable, Body: "<html>blocked</html>"},
		"an error of the way": {Status: http.StatusInternalServerError, Body: "blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.Expect(map[string]int{"a": 20, "b": 20})
			poisoned, good := w.register("poisoned"), w.register("good")
			fault.Method, fault.Match = http.MethodGet, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, poisoned) }
			w.cloud.Inject(fault)
			for i := range 10 {
				if _, err := w.Get(t.Context(), ratelimit.Caller{UID: uid("a", i), Namespace: "a"}, poisoned); err == nil {
					t.Fatal("it is read")
				}
				if w.checks.Swap(0) > 0 { // As the controller of CloudProjects does.
					noError(t, w.Verify(t.Context()))
				}
			}
			if _, err := w.Get(t.Context(), ratelimit.Caller{UID: "good", Namespace: "b"}, good); err != nil {
				t.Errorf("another namespace: %v", err)
			}
		})
	}
}
