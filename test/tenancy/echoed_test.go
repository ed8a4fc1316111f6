/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// The API repeats the token of an agent of another team, which the Agent that gets the error does not know.
func TestTokenOfAnotherAgent_RepeatedInAnError_IsNotShown(t *testing.T) {
	for name, fault := range map[string]cloudtest.Fault{
		"refusal of a registration": {Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusBadRequest},
		"list":                      {Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			w.Stop()
			log := journaled(w)
			w.Start(tenant.Namespace)
			w.Ready(w.Apply("victim", machine("machine-v")))
			token := w.Remote()[0].Token.Reveal()
			fault.Header = http.Header{"Content-Type": {"application/json"}}
			fault.Body = fmt.Sprintf(`{"error":"invalid agent metadata","detail":"compared with agent with token %s"}`, token)
			w.Cloud.Inject(fault)
			w.Guest(tenant, "guest", machine("machine-g"))
			if fault.Status == http.StatusBadRequest {
				tenant.Stalled("guest", v1alpha1.ReasonInvalid, "compared with agent with token "+cloud.Redacted)
			} else {
				w.PokeProject()
				w.ProjectBecomes(metav1.ConditionFalse, "", "compared with agent with token "+cloud.Redacted)
				tenant.NotReady("guest", v1alpha1.ReasonUnavailable, cloud.Redacted)
			}
			log.shows(tenant, token)
			log.shows(w, token)
		})
	}
}
