/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway repeats a registration at an API that registers a machine ID twice. The duplicate has the derived machine ID, and looks older
// than the registration where the clock of Calyptia Cloud is behind.
func TestRegister_RepeatedByAGateway_ClockOfTheCloudIsBehind_InTheEndOne(t *testing.T) {
	for _, behind := range []time.Duration{0, 40 * time.Second} {
		t.Run(behind.String(), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{
				UniqueMachineIDs: cloudtest.MachineIDDouble, Now: func() time.Time { return time.Now().Add(-behind) },
			}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.Slack = 80 * time.Second })
			entered, release := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: release})
			w.Apply("web")
			<-entered
			duplicate := w.Register("web", registration.DerivedMachineID(w.Settings.ClusterID, w.Namespace, "web")).ID
			close(release)
			if a := w.Ready("web"); a.Status.ID == duplicate {
				t.Fatal("the Agent has the duplicate")
			}
			w.Clock.Step(2 * w.Settings.Slack)
			w.Eventually("there is one agent", func() error {
				w.Check("web")
				if n := len(w.Remote()); n != 1 {
					w.PokeProject()
					return fmt.Errorf("%d remote agents; the CloudProject names %v", n, w.Project().Status.DuplicateAgents)
				}
				return nil
			})
			w.One("web")
		})
	}
}
