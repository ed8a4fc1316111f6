/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Something in between responds to one request with a switch of protocols, and is healed. What waited for it goes on.
func TestOneSwitchOfProtocols_Healed_TheOperatorGoesOn(t *testing.T) {
	switching := func(method string, route cloudtest.Route) cloudtest.Fault {
		return cloudtest.Fault{
			Method: method, Route: route, Times: 1, Status: http.StatusSwitchingProtocols,
			Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"other"}},
		}
	}
	t.Run("a read", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		w.Ready(w.Apply("web"))
		w.Cloud.Inject(switching(http.MethodGet, cloudtest.RouteAgent))
		w.Poke("web")
		handled(w, "web")
	})
	t.Run("a registration", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		w.Cloud.Inject(switching(http.MethodPost, cloudtest.RouteAgents))
		w.Ready(w.Apply("web"))
	})
	t.Run("a deletion", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		w.Ready(w.Apply("web"))
		w.Cloud.Inject(switching(http.MethodDelete, cloudtest.RouteAgent))
		w.Delete("web")
		w.Gone("web")
	})
	t.Run("the credential check", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{}, harness.Idle)
		w.Cloud.Inject(switching(http.MethodGet, cloudtest.RouteList))
		w.Start()
		w.ProjectBecomes("True", v1alpha1.ReasonCredentialsVerified)
	})
}
