/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A cache between the operator and the API responds with the list that it has, unless the request asks it not to. A list from before a
// registration is no evidence that this created nothing.
func TestDelete_InDoubt_ListComesFromACache_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("other"))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.HTTP.URL+"/v1/projects/"+w.ProjectID+"/agents?last=100", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+w.Token.Reveal())
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	cached, err := io.ReadAll(response.Body)
	if err != nil || response.Body.Close() != nil {
		t.Fatal(err)
	}
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusOK, Body: string(cached),
		Header: http.Header{"Content-Type": {"application/json"}, "Age": {"50"}, "Cache-Control": {"max-age=300"}},
		Match:  func(r *http.Request) bool { return !strings.Contains(r.Header.Get("Cache-Control"), "no-cache") },
	})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Delete("web")
	w.Gone("web")
	if left := w.Remote(); len(left) != 1 {
		t.Errorf("the Agent is gone, and %d remote agents are left instead of the other Agent's", len(left))
	}
}
