/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
)

// A recovery reads the Agent again. What the reconciliation found before is about the earlier Agent: a spec
// that changed in between would count as applied without being sent.
func TestRefreshGivesWayToAChangedAgent(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		goesOn bool
	}{
		{"nothing changed", func(*v1alpha1.Agent) {}, true},
		{"its status changed", func(a *v1alpha1.Agent) { a.Status.ID, a.ResourceVersion = "id", "2" }, true},
		{"its registration intent changed", annotated(v1alpha1.AnnotationRegistrationIntent, "t/2"), true},
		{"its spec changed", func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Generation = "[OUTPUT]", 3 }, false},
		{"another Agent has its name", func(a *v1alpha1.Agent) { a.UID = "web-2" }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := taskFor()
			live := p.Agent.DeepCopy()
			row.change(live)
			p.Reader = &standstill.View{Agent: live}
			err := p.refresh(t.Context())
			if (err == nil) != row.goesOn {
				t.Fatalf("error %v", err)
			}
			if err != nil && !agentstatus.Classify(err).Quiet {
				t.Errorf("%v is reported, though it is retried automatically", err)
			}
			if row.goesOn && (p.Agent.Status.ID != live.Status.ID || p.Intent() != IntentOf(live)) {
				t.Errorf("it continues with %+v", p.Agent)
			}
		})
	}
	gone := taskFor()
	gone.Reader = &standstill.View{}
	if f := agentstatus.Classify(gone.refresh(t.Context())); !f.Quiet {
		t.Errorf("a deleted Agent is reported as a failure: %+v", f)
	}
}
