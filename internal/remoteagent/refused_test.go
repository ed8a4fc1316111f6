/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// What the API says of other teams' agents is hidden in the error as a whole, and what the operator itself says stays.
func TestSayable_WordsAboutOthers(t *testing.T) {
	const other = "0b7e0000-0000-4000-8000-0000000000aa"
	for name, row := range map[string]struct {
		op, message, detail, text, want string
	}{
		"no words in the message": {
			"list agents", "bad row", "of agent x", "no response to the registration; checking whether it succeeded",
			"no response to the registration; checking whether it succeeded",
		},
		"a list": {"list agents", "bad row", "bad row: of agent x", "listing failed: %s: see there", "listing failed: list agents: 500 unavailable: " +
			"[redacted]: [redacted]: see there"},
		"a part of the error": {"list agents", "bad row", "of agent x", "it failed: bad row", "list agents: 500 unavailable: [redacted]: [redacted]"},
		"an ID":               {"register agent", "taken", "taken by agent_" + other, "%s", "register agent: 500 unavailable: taken: taken by agent_[redacted]"},
		"its own ID": {
			"register agent", "taken", "taken by web-1 of " + namesProject, "%s", "register agent: 500 unavailable: taken: taken by web-1 of " + namesProject,
		},
	} {
		t.Run(name, func(t *testing.T) {
			task := taskFor()
			task.Agent.Namespace, task.Agent.Status.ProjectID = "guests", namesProject
			e := &cloud.Error{Op: row.op, Status: 500, Reason: cloud.ReasonUnavailable, Message: row.message, Detail: row.detail, API: true}
			text := strings.ReplaceAll(row.text, "%s", e.Error())
			if got := (Redactor{task}).sayable(t.Context(), text, e); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// What the API repeats of a configuration from a Secret is hidden, whatever the request was.
func TestSayable_AConfigurationFromASecret(t *testing.T) {
	for _, op := range []string{"register agent", "update agent", "read agent", "delete agent"} {
		task := taskFor(func(a *v1alpha1.Agent) {
			a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "source", Key: "conf"}}
		})
		task.Config.Data = "[OUTPUT]\n    name http\n    http_passwd hunter2-is-a-password\n"
		e := &cloud.Error{
			Op: op, Status: 500, Reason: cloud.ReasonUnavailable, Message: "cannot decode", API: true,
			Detail: "cannot decode: line 3: http_passwd hunter2-is-a-password",
		}
		if got := (Redactor{task}).sayable(t.Context(), e.Error(), e); strings.Contains(got, "hunter2") || !strings.Contains(got, "cannot decode") {
			t.Errorf("%q", got)
		}
	}
}
