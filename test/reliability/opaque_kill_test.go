/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// opaque makes a world whose project token does not contain its project.
func opaque(t *testing.T, settings cloudtest.Settings) *harness.World {
	t.Helper()
	const token = "opaque-token-of-the-project"
	w := harness.New(t, settings, harness.Idle)
	w.Cloud.AddToken(w.ProjectID, token)
	setToken(w, token)
	w.Start()
	return w
}

// The operator is killed between the deletion of the remote agent and the release of the Agent. Its token does not contain its project, and
// is the same after the restart. The deletion of the Agent completes.
func TestDelete_KilledBeforeTheRelease_OpaqueToken_Ends(t *testing.T) {
	for name, settings := range map[string]cloudtest.Settings{"lists": {}, "no list": {NoList: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := opaque(t, settings)
			w.Ready(w.Apply("web"))
			dead := w.API.StopAt(http.MethodPatch, "/agents/web")
			w.Delete("web")
			<-dead
			w.Stop()
			remains(w)
			w.API.Before(nil)
			w.Start()
			w.Gone("web")
		})
	}
}

// Somebody deletes the remote agent while no operator runs. The token is the one that it was registered with.
func TestRemoteAgent_DeletedWhileTheOperatorIsDown_OpaqueToken_IsRegisteredAgain(t *testing.T) {
	t.Parallel()
	w := opaque(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web")).Status.ID
	w.Stop()
	w.Cloud.Remove(before)
	w.Start()
	w.Poke("web")
	w.Eventually("the agent is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == before || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.One("web")
}
