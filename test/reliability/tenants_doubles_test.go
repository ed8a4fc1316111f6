/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Where the service keeps no machine ID unique, an agent with an Agent's own machine ID may come from a leader
// that lost its lease without knowing. Only one that can be nothing else is withdrawn.
func TestDoubles(t *testing.T) {
	hour := time.Hour
	rows := []struct {
		name      string
		change    func(*cloud.Agent)
		withdrawn bool
	}{
		{"without metrics is withdrawn", func(*cloud.Agent) {}, true},
		{"with metrics is left and named", func(a *cloud.Agent) { a.FirstMetricsAddedAt = new(time.Now()) }, false},
		{"older than the registration is left and named", func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-hour) }, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.Slack = 500 * time.Millisecond
			})
			a := w.Ready(w.Apply("web"))
			w.Ready(w.Apply("other"))
			double := w.Register("web", a.Status.MachineID).ID
			w.Cloud.Mutate(double, row.change)
			w.Eventually("the resync finds the double", func() error {
				w.Poke("web")
				handled(w, "web")
				pokeProject(w)
				_, there := w.Cloud.Agent(double)
				named := slices.Contains(project(w).Status.DuplicateAgents, double)
				if there == row.withdrawn || named == row.withdrawn {
					return fmt.Errorf("the double is there: %v, named: %v", there, named)
				}
				return nil
			})
			after := w.Ready("web")
			if after.Status.ID != a.Status.ID {
				t.Errorf("the Agent went over to %s", after.Status.ID)
			}
			remote, _ := w.Cloud.Agent(a.Status.ID)
			w.HoldsToken("web", remote)
			if n := len(w.Remote()); n != 3 && !row.withdrawn || n != 2 && row.withdrawn {
				t.Errorf("%d agents in the cloud", n)
			}
			if row.withdrawn {
				w.Eventually("an event tells of it", func() error {
					if !slices.Contains(w.Events("web", 1), "DuplicateDeleted") {
						return errors.New("there is none")
					}
					return nil
				})
			}
		})
	}
}
