/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"
	"unsafe"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// A process may know ten thousand Agents. Of one that is as declared it keeps little.
func TestKnown_BetweenReconciliations_IsSmall(t *testing.T) {
	if size := unsafe.Sizeof(Known{}); size > 576 {
		t.Errorf("what is known of each Agent takes %d bytes", size)
	}
	registered := func(a *v1alpha1.Agent) { a.Status.ID = "1" }
	open := func(a *v1alpha1.Agent) {
		registered(a)
		sign := func(string) string { return "signed" }
		intent, err := registration.NewIntent(noon, registration.Attempt{}, registration.Intent{}, Subject(a, "blue", ""), sign)
		if err != nil {
			t.Fatal(err)
		}
		annotated(v1alpha1.AnnotationRegistrationIntent, intent.String())(a)
	}
	for name, row := range map[string]struct {
		change func(*v1alpha1.Agent)
		know   func(*Known)
		kept   bool
	}{
		"a registration that is done":                {registered, func(k *Known) { k.attempt.met, k.wanted.machineID = noon, "m" }, false},
		"one whose status is unwritten":              {registered, func(k *Known) { k.attempt.met, k.Writes.Sent = noon, &v1alpha1.Agent{} }, true},
		"one that is open":                           {open, func(k *Known) { k.attempt.met = noon }, true},
		"since when a machine ID is wanted":          {func(*v1alpha1.Agent) {}, func(k *Known) { k.wanted.since = noon }, true},
		"that the agent was missing":                 {registered, func(k *Known) { k.Absence.firstAt = noon }, true},
		"that registrations came to nothing, lately": {registered, func(k *Known) { k.fruitless.times = 1 }, true},
	} {
		t.Run(name, func(t *testing.T) {
			task := taskFor(row.change)
			row.know(task.Known)
			Rest(task)
			if kept := task.Known.unusual != nil; kept != row.kept {
				t.Errorf("kept is %t, want %t", kept, row.kept)
			}
		})
	}
}
