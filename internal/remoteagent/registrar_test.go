/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"net/http"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// guestWorld is a project of two agents with a page each, and the reconciliations of a guest of it that chose its machine ID.
type guestWorld struct {
	*testing.T
	*cloudtest.Server
	operator *Operator
	guest    *v1alpha1.Agent
	cp       *v1alpha1.CloudProject
	known    Known
	clock    *clocktesting.FakeClock
}

// pageRetry is how long a list waits before a page that failed, by the real clock.
const pageRetry = 100 * time.Millisecond

func newGuestWorld(t *testing.T, slack time.Duration) *guestWorld {
	t.Helper()
	first := taskFor(func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-1" })
	w := &guestWorld{
		T: t, Server: cloudtest.New(cloudtest.Settings{PageSize: 1}), clock: clocktesting.NewFakeClock(noon),
		operator: first.Operator, guest: first.Agent, cp: first.CloudProject,
	}
	web := w.Start()
	t.Cleanup(web.Close)
	w.operator.Clock, w.operator.Settings.Slack = w.clock, slack
	w.operator.Projects = connection.NewRegistry(connection.Options{
		Clock: w.clock, Policy: cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
		ListDelays: inventory.Delays{Backoff: pageRetry},
	})
	w.cp.Namespace, w.cp.Spec.URL, w.cp.Spec.Authentication = "platform", web.URL, v1alpha1.AuthenticationAuto
	c, err := w.operator.Projects.Configure(w.cp, connection.Credentials{Token: w.AddProject(namesProject)})
	if err == nil {
		err = c.Verify(t.Context())
	}
	for _, machine := range []string{"machine-2", "machine-3"} {
		var permit *connection.Permit
		if err == nil {
			permit, err = c.Acquire(ratelimit.Caller{UID: "other"})
		}
		if err == nil {
			_, err = permit.Register(t.Context(), cloud.Registration{
				Name: "other", MachineID: machine, Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]",
			})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// reconciles begins a reconciliation of the guest.
func (w *guestWorld) reconciles() *registrar {
	w.Helper()
	p := NewTask(w.operator, w.guest, &w.known)
	p.CloudProject = w.cp
	if err := p.connect(w.Context()); err != nil {
		w.Fatal(err)
	}
	return newRegistrar(p, false)
}

// lists reads a list that lasts so long by the operator's clock, all of it a wait before a page that failed.
func (w *guestWorld) lists(lasts time.Duration) {
	w.Helper()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Inject(cloudtest.Fault{
		Route: cloudtest.RouteList, Match: func(r *http.Request) bool { return r.URL.Query().Get("before") != "" }, Times: 1,
		Entered: entered, Block: release, Status: http.StatusInternalServerError, Body: `{"error":"internal"}`,
	})
	c := w.operator.Projects.Lookup(w.cp.UID)
	began := w.clock.Now()
	_ = c.Await() // The list begins.
	<-entered
	w.clock.Step(lasts)
	close(release)
	if _, _, err := c.FindByMachine(w.Context(), "machine-2", began.Add(-1)); err != nil {
		w.Fatal(err)
	}
	if took, lasted := c.ListTook(), inventory.ListLasted(c.Inventory); took != 0 || lasted != lasts {
		w.Fatalf("the list took %s and lasted %s with its waits, want 0s and %s", took, lasted, lasts)
	}
}

// A list that waits between its pages for longer than the slack shows a guest whether its machine ID is taken, for some times as long as
// it lasted: otherwise each list would be too old when it is complete, and the guest would never be registered.
func TestTakenFrom_AListWaitsForLongerThanTheSlack_ItServes(t *testing.T) {
	const slack = pageRetry / 20
	for _, row := range []struct {
		name         string
		lasts, later time.Duration
		serves       bool
	}{
		{"a short list", 0, slack - 1, true},
		{"a short list that is old", 0, slack, false},
		{"a long list", 4 * slack, 0, true},
		{"a long list, a little later", 4 * slack, 12*slack - 1, true},
		{"a long list that is old", 4 * slack, 12 * slack, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newGuestWorld(t, slack)
			w.reconciles().looksFrom() // Since then the guest wants its machine ID.
			w.clock.Step(1)
			w.lists(row.lasts)
			w.clock.Step(row.later)
			w.ResetRequests()
			r := w.reconciles()
			err := sources{r}.list(t.Context(), r.looksFrom())
			if (err == nil) != row.serves || len(w.Requests()) > 0 {
				t.Errorf("error %v, %d requests", err, len(w.Requests()))
			}
		})
	}
}
