/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A policy or webhook of the cluster removes keys from the Secret with the sessions, when it is created and when it is patched.
func TestSessions_KeyIsNotStored_StallsTheSet(t *testing.T) {
	for when, before := range map[string]int{"created": 0, "patched": 2} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			const secret, key = "logs-sessions-0", ".session.CALYPTIA"
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			w.Start()
			if before > 0 {
				w.Nodes("a", "b")
				w.AgentSet("logs", w.DaemonSet("logs"))
				w.SetReady("logs", before)
			}
			w.API.StoreWithout(secret, key)
			w.Nodes("c")
			if before == 0 {
				w.AgentSet("logs", w.DaemonSet("logs"))
			}
			stalled(w, "logs", v1alpha1.ReasonAPIServer, "did not store", key, secret, "policy or webhook")
			w.Restart()
			stalled(w, "logs", v1alpha1.ReasonAPIServer, "did not store", key, secret)
			w.API.Around(nil)
			w.Restart()
			w.SetReady("logs", before+1)
			if ids, _ := w.StoredSessions(w.GetSet("logs")); len(ids) != before+1 {
				t.Errorf("%d sessions are stored", len(ids))
			}
		})
	}
}
