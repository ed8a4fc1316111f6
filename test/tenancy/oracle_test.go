/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant knows the project, and so all of the project token but its signature. It writes guesses of the next character into its own agent,
// or has the API repeat them: what the operator hides confirms no guess.
func TestHiddenToken_ATenantGuessesIt_NothingIsConfirmed(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	a := tenant.Ready(w.Guest(tenant, "thief"))
	token := w.Token.Reveal()
	known := strings.LastIndex(token, ".") + 1
	for name, guess := range map[string]string{
		"the first of the secret": token[known-15 : known+1], "two of it": token[known-15 : known+2], "the start": token[:known+1],
	} {
		w.Cloud.Mutate(a.Status.ID, func(a *cloud.Agent) { a.OS = guess })
		tenant.Check("thief")
		if shown := tenant.Get("thief").Status.Agent.OS; shown != guess {
			t.Errorf("%s: %q is shown of %q", name, shown, guess)
		}
	}
	guess := token[known-15 : known+1]
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusUnprocessableEntity,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"error":"invalid version: ` + guess + `"}`,
	})
	tenant.Change("thief", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.9" })
	tenant.Stalled("thief", v1alpha1.ReasonInvalid, guess)
	w.Cloud.Mutate(a.Status.ID, func(a *cloud.Agent) { a.OS, a.Arch = token, "x"+token[known:]+"x" })
	tenant.Check("thief")
	if seen := tenant.Get("thief").Status.Agent; seen.OS != cloud.Redacted || seen.Arch != "x"+cloud.Redacted+"x" {
		t.Errorf("the whole token is shown: %q, %q", strings.ReplaceAll(seen.OS, token[known:], "<secret>"), seen.Arch)
	}
}
