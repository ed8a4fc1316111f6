/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A token that may do anything but delete: the Agent that is deleted says so, the CloudProject stays Ready, and other Agents are registered
// and changed.
func TestDelete_TokenIsRejectedForDeletions_OthersGoOn(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Ready(w.Apply("other"))
	allow := w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusUnauthorized, Body: `{"error":"unauthenticated"}`,
	})
	w.Delete("web")
	w.NotReady("web", v1alpha1.ReasonForbidden, "(delete)", "use a token")
	for i := range 5 {
		w.Ready(w.Apply(fmt.Sprint("new-", i)))
		w.Change("other", func(a *v1alpha1.Agent) { a.Spec.Version = fmt.Sprint("v4.0.", i+1) })
		w.Ready("other")
	}
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	w.NotReady("web", v1alpha1.ReasonForbidden)
	allow()
	w.PokeProject() // The token got the right.
	w.Gone("web")
}
