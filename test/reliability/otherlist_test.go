/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Something in between responds to the list of agents with a list of other things, such as the fleets. They have IDs, and no machine ID and
// no type, which every agent has. Such a list is no evidence that a registration created nothing.
func TestDelete_InDoubt_ListOfOtherThings_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("other"))
	heal := w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `[{"id":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11","name":"fleet-1","createdAt":"2026-01-01T00:00:00Z"}]`,
	})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Delete("web")
	w.Eventually("the Agent says that the list is invalid, or goes", func() error {
		var a v1alpha1.Agent
		err := w.Client.Get(context.Background(), w.Key("web"), &a)
		if apierrors.IsNotFound(err) || err == nil && harness.Condition(&a, v1alpha1.ConditionReady).Reason == v1alpha1.ReasonInvalidResponse {
			return nil
		}
		return errors.Join(err, errors.New(harness.Describe(&a)))
	})
	heal()
	w.Gone("web")
	if left := w.Remote(); len(left) != 1 {
		t.Errorf("the Agent is gone, and %d remote agents are left instead of the other Agent's", len(left))
	}
}
