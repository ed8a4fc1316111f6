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

// Where Calyptia Cloud does not enforce unique machine IDs, a duplicate may come from a leader that lost its lease
// without noticing. It is deleted only if nothing else explains it.
func TestDuplicates(t *testing.T) {
	hour := time.Hour
	rows := []struct {
		name    string
		change  func(*cloud.Agent)
		deleted bool
	}{
		{"without metrics is deleted", func(*cloud.Agent) {}, true},
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
			duplicate := w.Register("web", a.Status.MachineID).ID
			w.Cloud.Mutate(duplicate, row.change)
			w.Eventually("the resync finds the duplicate", func() error {
				w.Poke("web")
				handled(w, "web")
				w.PokeProject()
				_, there := w.Cloud.Agent(duplicate)
				named := slices.Contains(w.Project().Status.DuplicateAgents, duplicate)
				if there == row.deleted || named == row.deleted {
					return fmt.Errorf("the duplicate is there: %v, named: %v", there, named)
				}
				return nil
			})
			after := w.Ready("web")
			if after.Status.ID != a.Status.ID {
				t.Errorf("the Agent switched to %s", after.Status.ID)
			}
			remote, _ := w.Cloud.Agent(a.Status.ID)
			w.HoldsToken("web", remote)
			if n := len(w.Remote()); n != 3 && !row.deleted || n != 2 && row.deleted {
				t.Errorf("%d agents in the cloud", n)
			}
			if row.deleted {
				w.Eventually("an event reports it", func() error {
					if !slices.Contains(w.Events("web", 1), "DuplicateDeleted") {
						return errors.New("there is none")
					}
					return nil
				})
			}
		})
	}
}
