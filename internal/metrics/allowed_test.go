/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"errors"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Scrapes come often: a decision is asked for once, and again when the CloudProject changes. A failure changes no decision.
func TestAllowed_ADecisionIsKept(t *testing.T) {
	decided, failure, asked := false, error(nil), 0
	a := allowed{known: map[allowedKey]decision{}, ask: func(context.Context, *v1alpha1.CloudProject, string) (bool, error) {
		asked++
		return decided, failure
	}}
	cp := projectNamed("calyptia")
	check := func(what, namespace string, want bool, wantAsked int) {
		t.Helper()
		if got := a.has(t.Context(), &cp, namespace); got != want || asked != wantAsked {
			t.Errorf("%s: %v after %d questions, want %v after %d", what, got, asked, want, wantAsked)
		}
	}
	check("its own namespace", "logs", true, 0)
	check("a stranger", "web", false, 1)
	check("the same", "web", false, 1)
	cp.Generation++
	decided = true
	check("after a change", "web", true, 2)
	cp.Generation++
	decided, failure = false, errors.New("the API server does not respond")
	check("a failure", "web", true, 3)
	check("never decided", "other", true, 4)
}
