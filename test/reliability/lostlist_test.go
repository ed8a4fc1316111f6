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
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// goesOn checks that Agents are updated and deleted, and a new Agent is not registered while it is not known whether the API lists.
func goesOn(w *harness.World) {
	w.Helper()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Ready("web")
	w.Delete("gone")
	w.Gone("gone")
	w.NotReady(w.Apply("next"), v1alpha1.ReasonProjectNotReady)
	if n := len(w.Cloud.Agents(w.ProjectID)); n != 1 {
		w.Errorf("%d remote agents, want one", n)
	}
	if lists := w.Project().Status.ListSupported; lists == nil || !*lists {
		w.Errorf("the status forgets that the API lists agents")
	}
}

// The operator starts while something between it and the API hides the list.
func TestRestart_ListIsMissing_AgentsContinue(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Ready(w.Apply("gone"))
	w.Stop()
	w.Cloud.Configure(func(s *cloudtest.Settings) { s.NoList = true })
	w.Start()
	goesOn(w)
	w.Cloud.Configure(func(s *cloudtest.Settings) { s.NoList = false })
	w.Ready("next")
}

// The new token may do all but list agents. All continues at once, and registrations continue once that is certain.
func TestRotation_NewTokenMayNotList_AgentsContinue(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
	w.Ready(w.Apply("web"))
	w.Ready(w.Apply("gone"))
	w.Cloud.AddToken(w.ProjectID, renewed)
	w.Cloud.Inject(cloudtest.Fault{
		Route: cloudtest.RouteList, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`,
		Match: func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer "+renewed },
	})
	setToken(w, renewed)
	w.Eventually("the new token is in use", func() error {
		for _, r := range w.Cloud.Requests() {
			if r.Header.Get("Authorization") == "Bearer "+renewed && r.Route == cloudtest.RouteAgent {
				return nil
			}
		}
		return errors.New("it is not")
	})
	goesOn(w)
	w.Clock.Step(time.Minute)
	w.Ready("next")
}
