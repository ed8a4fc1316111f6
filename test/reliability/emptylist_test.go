/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// emptyOnce is the response of a backend that has no agents yet: one empty page in place of the page that matches. No list of the
// credential check is affected.
func emptyOnce(match func(cursor string) bool) cloudtest.Fault {
	return cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Times: 1, Status: http.StatusOK, Body: "[]",
		Header: http.Header{"Content-Type": {"application/json"}},
		Match: func(r *http.Request) bool {
			return r.URL.Query().Get("last") != "1" && match(r.URL.Query().Get("before"))
		},
	}
}

func firstPage(cursor string) bool { return cursor == "" }
func laterPage(cursor string) bool { return cursor != "" }

// An Agent is restored without its status, and one list is empty, or ends too early. Agents are known to exist, so that is not believed:
// the Agent finds its remote agent, and gets no second one, which would stay.
func TestRestore_OneEmptyPage_NoSecondAgent(t *testing.T) {
	for _, row := range []struct {
		name  string
		other bool // another Agent of the project is Ready
		empty func(cursor string) bool
	}{
		{"another Agent is recorded", true, firstPage},
		{"only the credential check showed an agent", false, firstPage},
		{"the list has a page before", false, laterPage},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, PageSize: 1})
			before := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web"))
			if row.other {
				w.Ready(w.Apply("other"))
			} else {
				w.Register("elsewhere", "another-machine")
			}
			w.Stop()
			w.Cloud.Inject(emptyOnce(row.empty))
			w.Start()
			w.Apply("web")
			a := w.ReadyOrStalled("web")
			if n := len(w.Remote()); n != 2 || a.Status.ID != before.ID {
				t.Errorf("%d remote agents instead of two; web has %s, not %s", n, a.Status.ID, before.ID)
			}
		})
	}
}

// The response to a registration is lost, the Agent is deleted, and one list is empty, although another Agent is Ready.
func TestDelete_InDoubt_OneEmptyList_LeavesNoAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("other"))
	heal := w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusServiceUnavailable,
		Match: func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" },
	})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("web")
	w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Delete("web")
	w.Clock.Step(w.Settings.Slack + time.Second)
	w.Cloud.Inject(emptyOnce(firstPage))
	heal()
	w.Gone("web")
	if left := w.Remote(); len(left) != 1 {
		t.Errorf("the Agent is gone, and %d remote agents are left instead of the other Agent's", len(left))
	}
}
