/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// An Agent older than the validation of a field says what to correct before anything is requested: these tasks have no client.
func TestOlderThanTheValidation_IsStalledBeforeAnyRequest(t *testing.T) {
	impossible := []string{"a/b", "..", "a%2fb", "My_Token"}
	for field, row := range map[string]struct {
		set   func(a *v1alpha1.Agent, name string)
		check func(*Task) error
	}{
		"spec.tokenSecretRef.name": {
			func(a *v1alpha1.Agent, name string) {
				a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: name}
			},
			func(p *Task) error { return SecretPreflight{p}.Possible(t.Context()) },
		},
		"spec.sessionSecretRef.name": {
			func(a *v1alpha1.Agent, name string) {
				a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: name}
			},
			func(p *Task) error { return SecretPreflight{p}.Possible(t.Context()) },
		},
		"spec.agentID": {
			func(a *v1alpha1.Agent, name string) { a.Spec.AgentID = name },
			func(p *Task) error { return Adopter{p}.Ensure(t.Context()) },
		},
	} {
		for _, name := range impossible {
			t.Run(field+" "+name, func(t *testing.T) {
				err := row.check(taskFor(func(a *v1alpha1.Agent) { row.set(a, name) }))
				f, ok := fault.As(err)
				if !ok || f.Class != fault.Terminal || f.Reason != v1alpha1.ReasonInvalid || !strings.HasPrefix(f.Message, field+":") {
					t.Errorf("%v", err)
				}
			})
		}
	}
	for _, name := range impossible {
		secret, verdict, err := tokensecret.Keeper{}.Find(t.Context(), &v1alpha1.Agent{}, name)
		if secret != nil || verdict != tokensecret.Absent || err != nil {
			t.Errorf("%q: %v, %v, %v", name, secret, verdict, err)
		}
	}
}
