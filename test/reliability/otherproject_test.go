/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A retained agent lives on, and its Secrets hold the only copy of its token. A new Agent of the same name with another CloudProject, whose
// token is that of another project, must not take them: that the other project does not have the agent does not show that it does not exist.
func TestRetainedSecret_OfAnAgentInAnotherProject_IsNotOverwritten(t *testing.T) {
	const right, wrong = "opaque-token-of-the-project", "opaque-token-of-another-project"
	claimed := func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID }
	nothing := func(*harness.World, *v1alpha1.CloudProject) {}
	for name, row := range map[string]struct {
		settings cloudtest.Settings
		opaque   bool
		project  func(*harness.World, *v1alpha1.CloudProject)
	}{
		"tokens contain their project":                 {cloudtest.Settings{}, false, nothing},
		"opaque tokens":                                {cloudtest.Settings{}, true, nothing},
		"opaque tokens, no list":                       {cloudtest.Settings{NoList: true}, true, nothing},
		"an opaque token under the former's projectID": {cloudtest.Settings{}, true, claimed},
		"an opaque token under the projectID, no list": {cloudtest.Settings{NoList: true}, true, claimed},
		"the same, an empty list":                      {cloudtest.Settings{EmptyForOthers: true}, true, claimed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, harness.Idle, row.project)
			elsewhere := uuid.NewString()
			token := w.Cloud.AddProject(elsewhere).Reveal()
			if row.opaque {
				w.Cloud.AddToken(w.ProjectID, right)
				setToken(w, right)
				w.Cloud.AddToken(elsewhere, wrong)
				token = wrong
			}
			w.Start()
			w.Ready(w.Apply("web", retain))
			w.Delete("web")
			w.Gone("web")
			before, retained := w.Secret("web-token"), w.Remote()[0]

			w.Create(w.TokenSecret("other-token", token))
			other := w.NewCloudProject("other")
			other.Spec.TokenSecretRef.Name = "other-token"
			row.project(w, other)
			w.Create(other)
			w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "other" })
			a := w.ReadyOrStalled("web")
			after := w.Secret("web-token")
			if _, lives := w.Cloud.Agent(retained.ID); !lives {
				t.Fatal("the retained agent does not exist")
			}
			if tokensecret.ID(after) != tokensecret.ID(before) || !tokensecret.Token(after).Equal(tokensecret.Token(before)) {
				t.Errorf("the Agent is %s; the Secret of the retained agent %s, which exists, now names %s, and the token is lost",
					harness.Describe(a), retained.ID, tokensecret.ID(after))
			}
		})
	}
}

// Where the token is known to be of the project that the Secret names, the agent was deleted there, and the Secret is free.
func TestRetainedSecret_OfADeletedAgent_IsOverwritten(t *testing.T) {
	for name, row := range map[string]struct {
		settings cloudtest.Settings
		opaque   bool
	}{
		"lists":   {},
		"no list": {settings: cloudtest.Settings{NoList: true}},
		"opaque token and projectID, another agent in the list": {opaque: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
			if row.opaque {
				w.Cloud.AddToken(w.ProjectID, renewed)
				setToken(w, renewed)
				w.Register("another", "another-machine")
			}
			w.Start()
			before := w.Ready(w.Apply("web", retain, session)).Status.ID
			w.Delete("web")
			w.Gone("web")
			w.Cloud.Remove(before)
			id := w.Ready(w.Apply("web", session)).Status.ID
			if holds := tokensecret.ID(w.Secret("web-token")); holds != id {
				t.Errorf("the Agent has %s, its Secret is of %s", id, holds)
			}
		})
	}
}
