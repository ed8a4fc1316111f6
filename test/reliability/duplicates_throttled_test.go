/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// limited has a rate limit, and duplicates that are soon old enough to be judged.
func limited(perSecond, burst int32) harness.Option {
	return func(w *harness.World, cp *v1alpha1.CloudProject) {
		w.Settings.Slack = 500 * time.Millisecond
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &perSecond, Burst: &burst}
	}
}

// withDuplicates makes an Agent with duplicates, which are recorded and cannot be deleted before repair is called.
func withDuplicates(w *harness.World, name string, n int) (repair func()) {
	w.Helper()
	a := w.Ready(w.Apply(name))
	repair = w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusInternalServerError})
	for range n {
		w.Register(name, a.Status.MachineID)
	}
	registered := time.Now()
	w.Eventually("the duplicates are older than the slack", func() error {
		if age := time.Since(registered); age <= w.Settings.Slack {
			return fmt.Errorf("they are %s old", age)
		}
		return nil
	})
	w.Poke(name)
	w.Eventually("the duplicates are recorded", func() error {
		if got := w.Get(name).Status.DuplicatesToDelete; len(got) != n {
			return fmt.Errorf("recorded are %v", got)
		}
		return nil
	})
	return repair
}

// A rate limit of one request at a time ends each turn after a request: reads that are repeated in each turn would use it up for ever.
func TestDuplicate_OneRequestAtATime_IsDeleted(t *testing.T) {
	for _, deleting := range []bool{false, true} {
		t.Run(fmt.Sprint("deleting ", deleting), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, limited(2, 1))
			repair := withDuplicates(w, "web", 1)
			w.Cloud.ResetRequests()
			left := 1
			if deleting {
				w.Delete("web")
				left = 0
			}
			repair()
			w.Eventually("the duplicate is deleted", func() error {
				if n := len(w.Remote()); n != left {
					return fmt.Errorf("%d remote agents are left: %s", n, harness.Describe(w.Get("web")))
				}
				return nil
			})
			if deleting {
				w.Gone("web")
			} else {
				handled(w, "web")
			}
			if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); n > 10 {
				t.Errorf("%d reads of agents", n)
			}
		})
	}
}

// Another team has its Agents checked all the time. The deletion of an Agent with a duplicate has its turns all the same.
func TestDelete_DuplicateBesideABusyTeam_Ends(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, limited(5, 10))
	repair := withDuplicates(w, "web", 1)
	const busy = 20
	for i := range busy {
		w.Guest(tenant, fmt.Sprint("busy-", i))
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	defer func() { close(stop); <-stopped }()
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				tenant.Poke(fmt.Sprint("busy-", i%busy))
			}
		}
	}()
	for i := range busy {
		tenant.Ready(fmt.Sprint("busy-", i))
	}
	w.Delete("web")
	repair()
	w.Gone("web")
	if n := len(w.Remote()); n != busy {
		t.Errorf("%d remote agents are left, want the other team's %d", n, busy)
	}
}

// Each request takes two seconds, so that a turn makes eight. The next begins where the last ended, not with the first duplicate.
func TestDelete_SlowAPIAndSevenDuplicates_Ends(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	repair := withDuplicates(w, "web", 7)
	w.Cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Match: func(*http.Request) bool {
		w.Clock.Step(2 * time.Second)
		return false
	}})
	w.Delete("web")
	repair()
	w.Gone("web")
	remains(w)
}

// The API does not allow the token to delete the duplicate. What a user changes is applied all the same.
func TestDuplicate_ThatCannotBeDeleted_DelaysNoChange(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	a := w.Ready(w.Apply("web"))
	w.Register("web", a.Status.MachineID)
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusForbidden, Body: `{"error":"permission denied"}`,
	})
	w.Eventually("the duplicate is found", func() error {
		if now := w.Get("web"); len(now.Status.DuplicatesToDelete) == 0 {
			w.Poke("web")
			return errors.New(harness.Describe(now))
		}
		return nil
	})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
	w.Eventually("the change is applied", func() error {
		if remote, _ := w.Cloud.Agent(a.Status.ID); remote.Version != "v4.1.0" {
			return fmt.Errorf("it has version %s: %s", remote.Version, harness.Describe(w.Get("web")))
		}
		return nil
	})
}
