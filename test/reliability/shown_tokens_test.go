/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// shows fails if an Agent shows a token to those who may read Agents.
func shows(w *harness.World, a *v1alpha1.Agent, whose string, token cloud.Token) {
	w.Helper()
	text, err := json.Marshal(a)
	if err != nil {
		w.Fatal(err)
	}
	if at := strings.Index(string(text), token.Reveal()); at >= 0 {
		w.Errorf("Agent %s shows the token of %s: ...%s", a.Name, whose, text[max(at-120, 0):at+8])
	}
}

// A server may write a token into any text, not only into the message of an error. No Agent shows it.
func TestTokens_InWhatTheAPIShowsOfOtherThings_AreHidden(t *testing.T) {
	t.Run("the name of a fleet", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{}, harness.Idle)
		w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, w.Token.Reveal())
		w.Start()
		w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{Name: "wrong"} })
		shows(w, w.NotReady("web", v1alpha1.ReasonNameNotFound, `no fleet named "wrong"`), "the project", w.Token)
	})
	t.Run("the name of the agent's fleet", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{}, harness.Idle)
		w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, "edge")
		id := w.Cloud.AddNamed(w.ProjectID, cloud.Fleets, w.Token.Reveal())
		w.Start()
		w.Ready(w.Apply("lists", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{Name: "edge"} }))
		w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Fleet = &v1alpha1.FleetReference{ID: id} }))
		w.Poke("web")
		shows(w, handled(w, "web"), "the project", w.Token)
	})
	t.Run("the name of the environment, in the response to the registration", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		id := w.Cloud.AddNamed(w.ProjectID, cloud.Environments, w.Token.Reveal())
		shows(w, w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Environment = &v1alpha1.EnvironmentReference{ID: id} })), "the project", w.Token)
	})
	for name, change := range map[string]func(*cloud.Agent, string){
		"the operating system":        func(a *cloud.Agent, token string) { a.OS = token },
		"a tag":                       func(a *cloud.Agent, token string) { a.Tags = []string{token} },
		"the name of the environment": func(a *cloud.Agent, token string) { a.EnvironmentName = token },
	} {
		for _, whose := range []string{"the project", "the agent"} {
			t.Run(name+"/"+whose, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{})
				id := w.Ready(w.Apply("web")).Status.ID
				remote, _ := w.Cloud.Agent(id)
				token := map[string]cloud.Token{"the project": w.Token, "the agent": remote.Token}[whose]
				w.Cloud.Mutate(id, func(a *cloud.Agent) { change(a, token.Reveal()) })
				w.Poke("web")
				shows(w, handled(w, "web"), whose, token)
			})
		}
	}
	t.Run("the type of an adopted agent", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		made := w.Register("legacy", "machine-1")
		for whose, token := range map[string]cloud.Token{"project": w.Token, "agent": made.Token} {
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.Type = token.Reveal() })
			w.Apply(whose, adopting(made.ID), func(a *v1alpha1.Agent) { a.Spec.Type = v1alpha1.AgentTypeFluentBit })
			shows(w, w.Stalled(whose, v1alpha1.ReasonRemoteMismatch, "is of type"), "the "+whose, token)
		}
	})
}

// An error whose message has no visible character repeats the agent's own token in its detail.
func TestTokens_InTheDetailOfAnErrorWithoutWords_AreHidden(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	remote, _ := w.Cloud.Agent(id)
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Route: cloudtest.RouteAgent, Status: http.StatusUnprocessableEntity,
		Body: fmt.Sprintf(`{"error":"\u200b","detail":%q}`, "you are "+remote.Token.Reveal()),
	})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	shows(w, w.Stalled("web", v1alpha1.ReasonInvalid), "the agent", remote.Token)
}
