/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Responses are validated: a machine ID could inject a section into a configuration that Fluent Bit runs, or be too
// large for the status.
func TestAdopt_InvalidMachineID_StallsWithAMessage(t *testing.T) {
	for _, row := range []struct{ name, machineID string }{
		{"line breaks that begin a section", "x\n[INPUT]\n    Name exec\n    Command id"},
		{"too long", strings.Repeat("a", 129)},
		{"larger than any object", strings.Repeat("a", 3<<19)},
		{"control characters", "a\x1b[31mb"},
		{"a quote and a brace", `a"}`},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true})
			made := w.Register("legacy", "machine-1")
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.MachineID = row.machineID })
			w.Apply("web", func(a *v1alpha1.Agent) {
				adopting(made.ID)(a)
				a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
			})
			w.Stalled("web", v1alpha1.ReasonRemoteMismatch, made.ID, "machine ID")
			if w.Secret("web-session") != nil || w.Secret("web-token") != nil {
				t.Error("Secrets were written")
			}
		})
	}
}

// A response without a machine ID shows no agent: it is requested again.
func TestAdopt_NoMachineID_IsNotAdopted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true})
	made := w.Register("legacy", "machine-1")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.MachineID = "" })
	w.Apply("web", adopting(made.ID))
	w.NotReady("web", v1alpha1.ReasonInvalidResponse, "machineID")
	if w.Secret("web-token") != nil || w.Get("web").Status.ID != "" {
		t.Error("it is adopted")
	}
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.MachineID = "machine-1" })
	w.Ready("web")
}
