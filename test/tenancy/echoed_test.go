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

func fromSecret(a *v1alpha1.Agent) {
	a.Spec.RawConfig = ""
	a.Spec.RawConfigFrom = &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "source", Key: "conf"}}
}

// The deletion of an Agent whose registration is in doubt pauses after registrations that the API refused, and shows why: the API
// repeats the refused value. Values from a Secret are not shown to users who may only read Agents, in a later reconciliation neither.
func TestSecretSource_RepeatedInAnError_IsNotShownWhileADeletionPauses(t *testing.T) {
	t.Parallel()
	const password = "hunter2-is-my-password"
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
	tenant.SetSecret("source", map[string]string{"conf": "[OUTPUT]\n    name http\n    http_passwd " + password + "\n"})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutAfter, Times: 1})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"application/json"}},
		Body:   `{"error":"invalid agent raw config: line 3: http_passwd ` + password + `"}`,
	})
	w.Guest(tenant, "echo", fromSecret)
	tenant.NotReady("echo", v1alpha1.ReasonRegistrationOutcomeUnknown)
	tenant.Delete("echo")
	a := tenant.NotReady("echo", v1alpha1.ReasonInvalid, "refused 4 times")
	if text := harness.Describe(a); strings.Contains(text, password[:10]) {
		t.Errorf("it is shown: %s", text)
	}
}

// A configuration from a Secret holds the token of the agent itself, and a password. The API repeats both.
func TestSecretSource_RepeatedWithTheTokenOfTheAgent_IsNotShown(t *testing.T) {
	t.Parallel()
	const password = "hunter2-is-my-password"
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.SetSecret("source", map[string]string{"conf": "[INPUT]\n    name dummy\n"})
	tenant.Ready(w.Guest(tenant, "echo", fromSecret))
	line := "header X-Agent-Token " + w.Remote()[0].Token.Reveal() + " http_passwd " + password
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"error":"invalid agent raw config: ` + line + `"}`,
	})
	tenant.SetSecret("source", map[string]string{"conf": "[OUTPUT]\n    name http\n    " + line + "\n"})
	a := tenant.Stalled("echo", v1alpha1.ReasonInvalid, "invalid agent raw config", cloud.Redacted)
	if text := harness.Describe(a); strings.Contains(text, password[:10]) {
		t.Errorf("it is shown: %s", text)
	}
}

// The configuration is applied, so that only its hash is known. The API refuses another field, and repeats the whole agent.
func TestSecretSource_RepeatedAtAnUpdateOfAnotherField_IsNotShown(t *testing.T) {
	t.Parallel()
	const password = "hunter2-is-my-password"
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.SetSecret("source", map[string]string{"conf": "[OUTPUT]\n    name http\n    http_passwd " + password + "\n"})
	tenant.Ready(w.Guest(tenant, "echo", fromSecret))
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Status: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}},
		Body: `{"error":"invalid agent version","detail":"in agent echo v9.9.9 with raw config: [OUTPUT] name http http_passwd ` + password + `"}`,
	})
	w.Cloud.Mutate(w.Remote()[0].ID, func(a *cloud.Agent) { a.Version = "v3.0.0" }) // The operator corrects it.
	tenant.Poke("echo")
	a := tenant.Stalled("echo", v1alpha1.ReasonInvalid, "invalid agent version")
	if text := harness.Describe(a); strings.Contains(text, password[:10]) {
		t.Errorf("it is shown: %s", text)
	}
}
