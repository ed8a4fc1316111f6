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

// A retained agent lives on, and its Secrets hold the only copy of its token. A new Agent of the same name in another project must
// not take them: that the other project does not have the agent does not show that it does not exist.
func TestRetainedSecret_OfAnAgentInAnotherProject_IsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", retain))
	w.Delete("web")
	w.Gone("web")
	before := w.Secret("web-token")
	retained := w.Remote()[0]

	token := w.Cloud.AddProject(uuid.NewString())
	w.Create(w.TokenSecret("other-token", token.Reveal()))
	other := w.NewCloudProject("other")
	other.Spec.TokenSecretRef.Name = "other-token"
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
}
