/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// rarely is an interval that outlasts every test.
func rarely(_ *harness.World, cp *v1alpha1.CloudProject) {
	cp.Spec.ResyncInterval = &metav1.Duration{Duration: 24 * time.Hour}
}

// confirmed checks that a read returned the agent after the last update.
func confirmed(w *harness.World) error {
	updated, read := false, false
	for _, r := range w.Cloud.Requests() {
		switch {
		case r.Method == http.MethodPatch && r.Status == http.StatusNoContent:
			updated, read = true, false
		case updated && r.Method == http.MethodGet && r.Status == http.StatusOK:
			read = true
		}
	}
	if !updated || !read {
		return fmt.Errorf("updated %v, read since %v", updated, read)
	}
	return nil
}

func TestUpdate_ReadBackFails_NotReadyBeforeAReadConfirmsIt(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault cloudtest.Fault
	}{
		{name: "the read-back gets 503", fault: cloudtest.Fault{Status: http.StatusServiceUnavailable}},
		{name: "the read-back gets a proxy's page", fault: cloudtest.Fault{Status: http.StatusOK, Body: "<html>"}},
		{name: "the read-back is cut", fault: cloudtest.Fault{Cut: cloudtest.CutAfter}},
		{name: "the read-back gets 429", fault: cloudtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{NoList: true}, rarely)
			w.Ready(w.Apply("web"))
			w.Cloud.ResetRequests()
			row.fault.Method, row.fault.Route, row.fault.Times = http.MethodGet, cloudtest.RouteAgent, 3
			w.Cloud.Inject(row.fault)
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			w.Ready("web")
			if err := confirmed(w); err != nil {
				t.Errorf("Ready, and the agent was not read: %v", err)
			}
			if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != 1 {
				t.Errorf("%d updates, want 1", n)
			}
		})
	}
}

// The remote agent is deleted externally between the update and the read-back.
func TestUpdate_RemoteDeletedBeforeReadBack_Reregisters(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
	}{
		{"with a list", cloudtest.Settings{}},
		{"without a list", cloudtest.Settings{NoList: true}},
		{"where reads of deleted agents return 410", cloudtest.Settings{NoList: true, GoneAfterDelete: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, rarely)
			before := w.Ready(w.Apply("web"))
			entered, block := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Entered: entered, Block: block})
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			select {
			case <-entered:
			case <-time.After(harness.Patience):
				t.Fatal("the update is not read back")
			}
			w.Cloud.Remove(before.Status.ID)
			close(block)
			w.Eventually("it is registered again", func() error {
				a := w.Get("web")
				if ready := harness.Condition(a, v1alpha1.ConditionReady); a.Status.ID == before.Status.ID && ready.Status == metav1.ConditionTrue &&
					a.Status.ObservedGeneration == a.Generation {
					t.Fatalf("Ready over an agent that is gone: %s", harness.Describe(a))
				}
				if a.Status.ID == before.Status.ID || a.Status.ID == "" {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			w.Ready("web")
			if remote := w.One("web"); remote.Version != "v4.1.0" {
				t.Errorf("version %s", remote.Version)
			}
		})
	}
}

// While the rate limit is exhausted, one snapshot confirms the updates of many.
func TestUpdate_RateLimitExhausted_ReadyOnceASnapshotConfirmsIt(t *testing.T) {
	for _, row := range []struct {
		name     string
		settings cloudtest.Settings
	}{
		{"with a list", cloudtest.Settings{}},
		{"without a list", cloudtest.Settings{NoList: true}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			limit, burst := int32(10), int32(4)
			w := harness.New(t, row.settings, rarely, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &limit, Burst: &burst}
			})
			var names []string
			for i := range 12 {
				names = append(names, w.Apply(fmt.Sprintf("web-%d", i)))
			}
			for _, name := range names {
				w.Ready(name)
			}
			w.Cloud.ResetRequests()
			for _, name := range names {
				w.Change(name, func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			}
			for _, name := range names {
				w.Ready(name)
			}
			if err := confirmed(w); err != nil {
				t.Error(err)
			}
			if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != len(names) {
				t.Errorf("%d updates for %d Agents", n, len(names))
			}
			reads := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent)
			if lists := w.Cloud.Count(http.MethodGet, cloudtest.RouteList); lists+reads > 2*len(names) {
				t.Errorf("%d reads and %d pages of lists for %d Agents", reads, lists, len(names))
			}
		})
	}
}
