/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// The closed intent of a record that moves to another URL moves with it, if the token of the new endpoint signed it for the former.
func TestPut_AtAnotherURL_SignsTheIntentOfTheRecordedAgentAgain(t *testing.T) {
	const here, elsewhere, further = "https://cloud-api.calyptia.com", "https://cloud.tenant.example", "https://third.example"
	const id, other = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	for _, row := range []struct {
		name     string
		token    string // that signed the intent
		signedAt string
		origin   v1alpha1.Origin
		recorded string // before
		want     bool
	}{
		{"registered there with this token", "the-project-token", elsewhere, v1alpha1.OriginRegistered, id, true},
		{"registered there with a former token", "a-former-token", elsewhere, v1alpha1.OriginRegistered, id, false},
		{"registered here, recorded there since", "the-project-token", here, v1alpha1.OriginRegistered, id, false},
		{"registered at a third URL, recorded there since", "the-project-token", further, v1alpha1.OriginRegistered, id, false},
		{"adopted there", "the-project-token", elsewhere, v1alpha1.OriginAdopted, id, false},
		{"another agent was recorded there", "the-project-token", elsewhere, v1alpha1.OriginRegistered, other, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := holding(t, taskFor(func(a *v1alpha1.Agent) {
				a.Spec.MachineID = "machine-1"
				a.Status.ID, a.Status.URL, a.Status.MachineID, a.Status.Origin = row.recorded, elsewhere, "machine-1", row.origin
			}), "the-project-token")
			p.CloudProject.Namespace = "platform"
			intent, err := registration.NewIntent(noon, registration.Attempt{}, registration.Intent{}, Evidence{p}.subject(row.signedAt),
				connection.Signer(cloud.NewToken(row.token)))
			if err != nil {
				t.Fatal(err)
			}
			p.Agent.Status.RegistrationIntent = intent.String()
			annotated(v1alpha1.AnnotationRegistrationIntent, intent.String())(p.Agent)
			Observer{p}.Put(id, "machine-1")
			if moved := ClosedIntent(p.Agent); moved.Authentic(Evidence{p}.subject(here), p.Project.Sign) != (row.want || row.signedAt == here) ||
				!row.want && moved != intent {
				t.Errorf("%q became %q", intent, moved)
			}
			if p.Open() {
				t.Error("the intent is open again")
			}
			p.Endpoint = connection.Endpoint{URL: further}
			remote := &cloud.Agent{ID: id, MachineID: "machine-1", CreatedAt: noon.Add(time.Second)}
			if got := known(Evidence{p}, remote, p.Intent()).Entitled(); got != (row.want || row.signedAt == here && row.origin == v1alpha1.OriginRegistered) {
				t.Errorf("entitled after the next move: %v", got)
			}
		})
	}
}
