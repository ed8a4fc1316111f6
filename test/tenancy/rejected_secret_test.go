/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// rejecting makes the API server reject the writes of some paths, with these words of a policy engine.
func rejecting(w *harness.World, code int, said func() string, paths ...string) {
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method == http.MethodGet || !slices.ContainsFunc(paths, func(path string) bool { return strings.HasSuffix(r.URL.Path, path) }) {
			return send(r)
		}
		reason := map[int]metav1.StatusReason{http.StatusForbidden: metav1.StatusReasonForbidden}[code]
		return harness.Refusal(r, code, reason, said())
	})
}

func secretsOf(w *harness.World) string { return "/" + w.Namespace + "/secrets" }

// A policy of the cluster rejects a Secret of the operator, with a text of many lines, or one that no status could hold.
func TestRejectedSecret_ShowsABoundedAndCleanText(t *testing.T) {
	for name, said := range map[string]string{
		"long":    "admission webhook denied the request: " + strings.Repeat("policy ", 6000),
		"control": "admission webhook denied the request:\n\n\x1b[31mpolicy\x1b[0m \u202egpj.exe",
	} {
		shown := func(t *testing.T, c metav1.Condition) {
			if strings.ContainsFunc(c.Message, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("the condition holds control characters: %q", c.Message)
			}
			if n := utf8.RuneCountInString(c.Message); n > 2000 {
				t.Errorf("the condition has %d characters", n)
			}
			if !strings.Contains(c.Message, "denied the request") || !strings.Contains(c.Message, "change the policy that rejects it") {
				t.Errorf("the condition does not say what happened, and what to do: %q", c.Message)
			}
		}
		t.Run(name+"/Agent", func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			rejecting(w, http.StatusForbidden, func() string { return said }, secretsOf(tenant))
			a := tenant.Stalled(w.Guest(tenant, "web"), v1alpha1.ReasonSecretWriteRefused)
			shown(t, harness.Condition(a, v1alpha1.ConditionReady))
		})
		t.Run(name+"/CloudProject", func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			rejecting(w, http.StatusForbidden, func() string { return said }, secretsOf(w))
			w.Start()
			w.ProjectBecomes(metav1.ConditionFalse, v1alpha1.ReasonSecretWriteRefused)
			shown(t, *meta.FindStatusCondition(w.Project().Status.Conditions, v1alpha1.ConditionReady))
		})
	}
}
