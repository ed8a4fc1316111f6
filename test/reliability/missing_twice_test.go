/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// otherwise is one response to a read of an existing agent that shows another machine ID, as something that masks IDs may write it.
func otherwise(id string) cloudtest.Fault {
	f := incompletely(id)
	f.Body = fmt.Sprintf(`{"id":%q,"machineID":"xxxxxxxx","type":"fluentbit"}`, id)
	return f
}

// An Agent that has its remote agent reads it, and responses are wrong, each in its own way and once. No two show the same, so none is
// confirmed: nothing is registered, and no Agent is Stalled for an interval.
func TestRecorded_OneWrongResponse_IsNotBelieved(t *testing.T) {
	registered := func(w *harness.World) string { return w.Ready(w.Apply("web")).Status.ID }
	adopted := func(w *harness.World) string {
		id := w.Register("legacy", "machine-1").ID
		w.Ready(w.Apply("web", adopting(id)))
		return id
	}
	for name, row := range map[string]struct {
		opaque, restart bool
		begin           func(w *harness.World) (id string)
		wrong           []func(id string) cloudtest.Fault
	}{
		"registered":                         {begin: registered, wrong: []func(string) cloudtest.Fault{wrongly}},
		"adopted":                            {begin: adopted, wrong: []func(string) cloudtest.Fault{wrongly}},
		"adopted, opaque token, restarted":   {true, true, adopted, []func(string) cloudtest.Fault{wrongly}},
		"not found, then another machine ID": {begin: registered, wrong: []func(string) cloudtest.Fault{wrongly, otherwise}},
		"another machine ID, then not found": {begin: registered, wrong: []func(string) cloudtest.Fault{otherwise, wrongly}},
		"not found, then no machine ID":      {begin: registered, wrong: []func(string) cloudtest.Fault{wrongly, incompletely}},
		"adopted, another machine ID":        {begin: adopted, wrong: []func(string) cloudtest.Fault{otherwise}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}
			var w *harness.World
			if row.opaque {
				w = opaque(t, settings)
			} else {
				w = harness.New(t, settings)
			}
			id := row.begin(w)
			if row.restart {
				w.Restart()
			}
			for _, wrong := range row.wrong {
				w.Cloud.Inject(wrong(id))
			}
			w.Cloud.ResetRequests()
			w.Poke("web")
			if a := handled(w, "web"); harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
				t.Errorf("after wrong responses the Agent is %s", harness.Describe(a))
			}
			if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); n <= len(row.wrong) {
				t.Errorf("%d reads", n)
			}
			remains(w, id)
		})
	}
}

// A "not found" at a place where the agent is not known to have been does not count at the right one.
func TestRecorded_NotFoundAtAWrongToken_OneWrongNotFoundAtTheRight_NoSecondAgent(t *testing.T) {
	t.Parallel()
	const right, wrong = "opaque-token-of-the-project", "opaque-token-of-another-project"
	w := opaque(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Cloud.AddToken("11111111-2222-4333-8444-555555555555", wrong)
	setToken(w, wrong)
	w.Eventually("the other token is in use", func() error { return verifiedAgain(w, right) })
	w.Poke("web")
	w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct")
	setToken(w, right)
	w.Eventually("the right token is in use", func() error { return verifiedAgain(w, wrong) })
	w.Cloud.Inject(wrongly(id))
	w.Poke("web")
	handled(w, "web")
	w.Ready("web")
	remains(w, id)
}

// One wrong "not found" to the deletion of an adopted agent, after a restart with a token that does not contain its project, does not stall it.
func TestDelete_Adopted_OneWrongNotFound_OpaqueToken_Ends(t *testing.T) {
	t.Parallel()
	w := opaque(t, cloudtest.Settings{})
	id := w.Register("legacy", "machine-1").ID
	w.Ready(w.Apply("web", adopting(id), func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionDelete }))
	w.Stop()
	w.Cloud.Inject(wrongly(id))
	w.Delete("web")
	w.Start()
	w.Gone("web")
	remains(w)
}
