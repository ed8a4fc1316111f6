/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A duplicate that reported is left. An API may show that without a readable firstMetricsAddedAt.
func TestDuplicates_ThatReported_WithoutFirstMetricsAddedAt_AreLeft(t *testing.T) {
	for name, reported := range map[string]func(*cloud.Agent){
		"a count of metrics": func(a *cloud.Agent) { a.MetricsCount, a.Status = 5000, "healthy" },
		"a last time":        func(a *cloud.Agent) { a.LastMetricsAddedAt = new(time.Now()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.Slack = 500 * time.Millisecond
			})
			a := w.Ready(w.Apply("web"))
			duplicate := w.Register("web", a.Status.MachineID).ID
			w.Cloud.Mutate(duplicate, reported)
			w.Eventually("the resync finds the duplicate", func() error {
				w.Poke("web")
				handled(w, "web")
				w.PokeProject()
				if _, there := w.Cloud.Agent(duplicate); !there {
					t.Fatal("the duplicate, which reports, was deleted")
				}
				if len(w.Project().Status.DuplicateAgents) == 0 {
					return fmt.Errorf("it is not named")
				}
				return nil
			})
		})
	}
}

// A duplicate that begins to report while its deletion fails is left, too: a Fluent Bit may have its token.
func TestDuplicate_BeginsToReportWhileItsDeletionFails_IsLeft(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, limited(100, 100))
	repair := withDuplicates(w, "web", 1)
	duplicate := w.Get("web").Status.DuplicatesToDelete[0]
	w.Eventually("its deletion failed", func() error {
		if w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent) == 0 {
			return errors.New("it was not tried")
		}
		return nil
	})
	w.Cloud.Mutate(duplicate, func(a *cloud.Agent) { a.MetricsCount, a.LastMetricsAddedAt = 7, new(time.Now()) })
	w.Eventually("the duplicate is not to be deleted any more", func() error {
		if recorded := w.Get("web").Status.DuplicatesToDelete; len(recorded) > 0 {
			return fmt.Errorf("recorded are %v", recorded)
		}
		return nil
	})
	repair()
	w.Check("web")
	remains(w, w.Get("web").Status.ID, duplicate)
}

// One odd response must not have a duplicate forgotten: where no list shows it again, it would be left for ever.
func TestDuplicate_OneReadShowsAnotherMachineID_IsNotForgotten(t *testing.T) {
	for name, row := range map[string]struct{ times, left int }{"once": {1, 1}, "always": {0, 2}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, limited(100, 100))
			repair := withDuplicates(w, "web", 1)
			duplicate := w.Get("web").Status.DuplicatesToDelete[0]
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusInternalServerError})
			w.Clock.Step(time.Minute) // The last list is too old to show the duplicate again.
			var odd atomic.Int32
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: row.times, Status: http.StatusOK,
				Body: fmt.Sprintf(`{"id":%q,"name":"web","machineID":"of-another-agent","type":"fluentbit"}`, duplicate),
				Match: func(r *http.Request) bool {
					reads := strings.HasSuffix(r.URL.Path, duplicate)
					if reads {
						odd.Add(1)
					}
					return reads
				},
			})
			w.Eventually("a read shows another machine ID", func() error {
				w.Poke("web")
				if odd.Load() == 0 {
					return errors.New("it was not read")
				}
				return nil
			})
			w.Clock.Step(w.Settings.GoneDelay)
			repair()
			w.Eventually("it is decided", func() error {
				w.Poke("web")
				if recorded := w.Get("web").Status.DuplicatesToDelete; len(recorded) > 0 {
					return fmt.Errorf("recorded are %v", recorded)
				}
				return nil
			})
			if n := len(w.Remote()); n != row.left {
				t.Errorf("%d remote agents are left, want %d", n, row.left)
			}
		})
	}
}
