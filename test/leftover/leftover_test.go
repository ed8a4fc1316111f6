/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package leftover_test tests the Secrets of deleted Agents before the garbage collector deletes them. test/story tests
// that it does.
package leftover_test

import (
	"errors"
	"os"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m, testenv.Options{Controllers: []string{}})) }

func withSession(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }

// A new Agent of the same name gets the Secrets that are not deleted yet.
func TestTheNextAgentGetsTheSecretsOfItsNamesake(t *testing.T) {
	t.Parallel()
	for _, settings := range []cloudtest.Settings{{}, {MaskTokens: true}, {NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}} {
		w := harness.New(t, settings)
		w.Apply("web", withSession)
		old := w.Ready("web")
		w.Delete("web")
		w.Gone("web")
		w.Apply("web", withSession)
		w.Ready("web")
		w.HoldsToken("web", w.One("web"))
		w.Eventually("the session is the new one's", func() error {
			session := w.Secret("web-session")
			if session == nil || len(session.OwnerReferences) != 1 || session.OwnerReferences[0].UID != w.Get("web").UID {
				return errors.New("it is not")
			}
			return nil
		})
		if w.Get("web").Status.ID == old.Status.ID {
			t.Error("the new Agent has the old remote agent")
		}
	}
}
