/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A response that does not show when the agent was created, or its name, may be another registration's: the agent is read before its token
// is stored.
func TestRegister_ResponseOfAnotherTeamsRegistration_WithoutATimeOrName_ItsTokenIsInNoSecret(t *testing.T) {
	for name, body := range map[string]string{
		"the same name": `{"id":%q,"token":%q,"name":"web"}`,
		"neither":       `{"id":%q,"token":%q}`,
		"no name":       `{"id":%q,"token":%q,"createdAt":"` + time.Now().UTC().Format(time.RFC3339Nano) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			made := w.Register("web", "another-teams-machine")
			victim, _ := w.Cloud.Agent(made.ID)
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, After: true, Times: 1, Status: http.StatusCreated,
				Header: http.Header{"Content-Type": {"application/json"}}, Body: fmt.Sprintf(body, victim.ID, victim.Token.Reveal()),
			})
			w.Apply("web")
			w.ReadyOrStalled("web")
			w.KeepsNothingOf("web-token", victim)
		})
	}
}
