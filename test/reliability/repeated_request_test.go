/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A gateway repeats each registration, and the API asks to send the second one later: each leaves an agent. Some in a row are enough to
// look for them.
func TestRegister_EachTookEffectAndIsToBeSentLater_FewAgents(t *testing.T) {
	for _, after := range []string{"", "1"} {
		t.Run("Retry-After "+after, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.Ready(w.Apply("first"))
			header := http.Header{"Content-Type": {"application/json"}}
			if after != "" {
				header.Set("Retry-After", after)
			}
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusTooManyRequests, After: true,
				Header: header, Body: `{"error":"too many requests"}`,
			})
			w.Apply("web")
			for n := 1; n <= 4; n++ {
				w.Eventually(fmt.Sprint("registration ", n), func() error {
					if got := len(w.Remote()) - 1; got < n {
						return fmt.Errorf("there are %d: %s", got, harness.Describe(w.Get("web")))
					}
					return nil
				})
				if after == "" {
					w.Clock.Step(w.Settings.BackoffMax)
				}
			}
			w.Ready("web")
			if n := len(w.Remote()) - 1; n > 5 {
				t.Errorf("%d agents for one Agent", n)
			}
			w.Clock.Step(2 * w.Settings.Slack)
			w.Poke("web")
			w.Eventually("one is left", func() error {
				if n := len(w.Remote()) - 1; n != 1 {
					return fmt.Errorf("%d are: %s", n, harness.Describe(w.Get("web")))
				}
				return nil
			})
		})
	}
}
