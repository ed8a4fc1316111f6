/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"net/http"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
)

// turns are the reconciliations of one Agent that follow each other, with the API that they use.
type turns struct {
	*testing.T
	api      *cloudtest.Server
	view     *standstill.View
	clock    *clocktesting.FakeClock
	projects *connection.Registry
	remote   string
}

func newTurns(t *testing.T) *turns {
	t.Helper()
	const project = "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	w := &turns{T: t, api: cloudtest.New(cloudtest.Settings{}), clock: clocktesting.NewFakeClock(noon)}
	server := w.api.Start()
	t.Cleanup(server.Close)
	w.projects = connection.NewRegistry(connection.Options{
		Clock: w.clock, Policy: cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true},
	})
	cp := taskFor().CloudProject
	cp.Spec.URL, cp.Spec.Authentication = server.URL, v1alpha1.AuthenticationAuto
	c, err := w.projects.Configure(cp, connection.Credentials{Token: w.api.AddProject(project)})
	if err == nil {
		err = c.Verify(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	w.view = &standstill.View{Project: cp}
	w.remote = w.register(c)
	return w
}

func (w *turns) register(c *connection.Connection) string {
	w.Helper()
	permit, err := c.Acquire(ratelimit.Caller{UID: "another", Namespace: "shop"})
	if err != nil {
		w.Fatal(err)
	}
	made, err := permit.Register(w.Context(), cloud.Registration{
		Name: "web", MachineID: "m", Type: "fluentbit", Version: "v4.0.0", Edition: "community", RawConfig: "[INPUT]",
	})
	if err != nil {
		w.Fatal(err)
	}
	return made.ID
}

// next begins a reconciliation, as far as it gets.
func (w *turns) next() (*task, error) {
	p := taskFor(func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "main"} })
	p.CloudProject, p.Client, p.APIReader, p.Projects = nil, w.view, w.view, w.projects
	return p, p.ResolveProject(w.Context())
}

// read reads the remote agent in a reconciliation, and returns how many requests that took.
func (w *turns) read() int {
	w.Helper()
	p, err := w.next()
	if err == nil {
		w.api.ResetRequests()
		_, err = p.Project.Get(w.Context(), p.Caller(), w.remote)
	}
	if err != nil {
		w.Fatal(err)
	}
	return len(w.api.Requests())
}

// What a reconciliation read counts in the next one if a throttle or a list ended one between them, also one that found the API throttled
// before it could use the CloudProject: otherwise each throttle would have the same requests made again, which cause the next throttle.
func TestEndTurn_AfterAThrottle_WhatWasReadCounts(t *testing.T) {
	throttles := func(w *turns) {
		w.api.Inject(cloudtest.Fault{
			Times: 1, Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"30"}}, Body: `{"error":"slow down"}`,
		})
		c := w.projects.Lookup(w.view.Project.UID)
		_, _ = c.Get(w.Context(), ratelimit.Caller{UID: "another", Namespace: "shop"}, w.remote)
	}
	throttled := fault.Waitingf(v1alpha1.ReasonRateLimited, "the requests take long").Coded(fault.Throttled)
	list := fault.Waitingf(v1alpha1.ReasonProgressing, "waiting for the list of remote agents").Quietly()
	for _, row := range []struct {
		name    string
		before  func(*turns)
		ends    error // unless the CloudProject cannot be used
		outside bool  // the CloudProject cannot be used
		counts  bool
	}{
		{name: "the API throttles before the reconciliation", before: throttles, outside: true, counts: true},
		{name: "the rate limit", ends: throttled, counts: true},
		{name: "a list", ends: list, counts: true},
		{name: "the CloudProject is deleted", before: func(w *turns) { w.view.Project = nil }, outside: true},
		{name: "an outage", ends: &cloud.Error{Status: 500, Reason: cloud.ReasonUnavailable}},
		{name: "the API server, before the CloudProject is read", before: func(w *turns) { w.view.Project = nil },
			ends: apierrors.NewConflict(schema.GroupResource{Resource: "agents"}, "web", nil), outside: true},
		{name: "nothing is left to do"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newTurns(t)
			cp := w.view.Project
			if n := w.read(); n != 1 {
				t.Fatalf("%d requests for the first read", n)
			}
			if row.before != nil {
				row.before(w)
			}
			p, err := w.next()
			if outside := p.Project == nil; outside != row.outside {
				t.Fatalf("the CloudProject cannot be used: %v, error %v", outside, err)
			}
			if row.ends != nil {
				err = row.ends
			}
			finisher{p}.endTurn(err)
			w.view.Project = cp
			w.clock.Step(time.Minute)
			if n, want := w.read(), map[bool]int{true: 0, false: 1}[row.counts]; n != want {
				t.Errorf("%d requests for the next read, want %d", n, want)
			}
		})
	}
}

// An applied Agent stays Ready for a while in what shows nothing of its remote agent.
func TestSchedule_WhatKeepsFromAnyCheck_HasAGrace(t *testing.T) {
	for code, want := range map[fault.Code]bool{
		fault.ProjectNotReady: true, fault.Throttled: true, fault.Unreachable: true, fault.KindRejected: true,
		fault.ProjectMissing: false, fault.RemoteMissing: false, fault.RemoteOwned: false, fault.NoCode: false,
	} {
		p := taskFor()
		p.Settings.OutageGrace = time.Minute
		if got := (finisher{p}).schedule(t.Context(), fault.Waitingf("Waiting", "it waits").Coded(code), noon); got != want {
			t.Errorf("%q: grace %v, want %v", code, got, want)
		}
	}
}
