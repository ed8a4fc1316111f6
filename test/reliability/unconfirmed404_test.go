/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// wrongly is one wrong response to a read of an existing agent, in the API's own form: it does not exist. A backend that lags behind
// the one that registered it says so.
func wrongly(id string) cloudtest.Fault {
	return cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
		Match: func(r *http.Request) bool { return r.URL.Path == "/v1/agents/"+id }, // Not the credential check.
	}
}

// An Agent is restored from a backup, with its Secret, which names its remote agent. One wrong response to the read of that must not
// have it registered again, least of all where the API lists the remote agent.
func TestRestore_OneWrongResponse_NoSecondAgent(t *testing.T) {
	for name, row := range map[string]struct {
		noList   bool
		response func(id string) cloudtest.Fault
	}{
		"no list":                    {true, wrongly},
		"lists":                      {false, wrongly},
		"no list/without machine ID": {true, incompletely},
		"lists/without machine ID":   {false, incompletely},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: row.noList, UniqueMachineIDs: cloudtest.MachineIDDouble})
			before := w.Ready(w.Apply("web")).Status.ID
			s := w.Secret("web-token")
			w.Stop()
			deleteWithoutOperator(w, "web")
			remove(w, s)
			untilDeleted(w, s.DeepCopy())
			s.OwnerReferences, s.ResourceVersion, s.UID = nil, "", ""
			w.Create(s)
			w.Create(w.NewAgent("web"))
			w.Cloud.Inject(row.response(before))
			w.Start()
			w.Ready("web")
			remains(w, before)
		})
	}
}

// inDoubt has a registration whose response is lost, and whose outcome is not looked up before the slack is over. The operator is
// stopped, and begins with what the clock shows then.
func inDoubt(t *testing.T, changes ...func(*v1alpha1.Agent)) (w *harness.World, id string) {
	t.Helper()
	w = harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.Ready(w.Apply("first"))
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: release,
	})
	w.Apply("web", changes...)
	<-entered // A chosen machine ID needs a list before that.
	blind := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
	close(release)
	w.Eventually("the registration is in doubt", func() error {
		if a := w.Get("web"); len(a.Status.Conditions) < 2 || len(w.Remote()) != 2 {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Stop()
	blind()
	w.Clock.Step(2 * w.Settings.Slack)
	return w, w.Remote()[1].ID
}

// The list shows what a registration created whose response was lost, and one read says that it does not exist.
func TestDelete_InDoubt_OneWrongNotFound_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w, id := inDoubt(t)
	w.Delete("web")
	w.Cloud.Inject(wrongly(id))
	w.Start()
	w.Gone("web")
	remains(w, w.Get("first").Status.ID)
}

// The same without a deletion, with a chosen machine ID, whose duplicates the operator does not delete.
func TestRegister_InDoubt_OneWrongNotFound_NoSecondAgent(t *testing.T) {
	t.Parallel()
	w, id := inDoubt(t, machine("machine-1"))
	w.Cloud.Inject(wrongly(id))
	w.Start()
	w.Ready("web")
	remains(w, w.Get("first").Status.ID, id)
}

// A Secret holds the only copy of the token of a retained agent with another machine ID. One wrong response to a read of that agent must
// not have it overwritten.
func TestRetainedSecret_OneWrongNotFound_IsNotOverwritten(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web", machine("machine-1"), retain)).Status.ID
	w.Delete("web")
	w.Gone("web")
	before := w.Secret("web-token")
	w.Cloud.Inject(wrongly(id))
	w.Apply("web")
	a := w.ReadyOrStalled("web")
	after := w.Secret("web-token")
	if _, lives := w.Cloud.Agent(id); !lives {
		t.Fatal("the retained agent does not exist")
	}
	if !tokensecret.Token(after).Equal(tokensecret.Token(before)) {
		t.Errorf("the Agent is %s; the Secret of the retained agent %s, which exists, now names %s, and the token is lost",
			harness.Describe(a), id, tokensecret.ID(after))
	}
}

// A duplicate is about to be deleted, and the read before that or the deletion, which had no effect, says that it does not exist. The
// deletion of the Agent leaves nothing.
func TestDuplicate_OneWrongNotFound_IsNotForgotten(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			a := w.Ready(w.Apply("web"))
			wrong := wrongly(w.Register("web", a.Status.MachineID).ID)
			wrong.Method = method
			w.Cloud.Inject(wrong)
			w.Clock.Step(time.Minute)
			w.Check("web")
			w.Delete("web")
			w.Gone("web")
			remains(w)
		})
	}
}

// A user names an existing agent to adopt, and one read says that it does not exist. That stalls no Agent: GitOps tools give up on it.
func TestAdopt_OneWrongNotFound_IsNotStalled(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	id := w.Register("legacy", "machine-1").ID
	w.Cloud.Inject(wrongly(id))
	w.Start()
	w.Apply("web", adopting(id))
	if a := w.ReadyOrStalled("web"); a.Status.ID != id {
		t.Errorf("the existing agent is not adopted: %s", harness.Describe(a))
	}
}
