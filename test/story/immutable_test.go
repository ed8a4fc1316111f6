/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"fmt"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Somebody made a Secret of an Agent immutable: the condition says what to do, and that helps, also if the API shows each token only once.
func TestAnImmutableSecretIsCreatedAgainAfterItsDeletion(t *testing.T) {
	for _, masked := range []bool{false, true} {
		for _, name := range []string{"web-token", "web-session"} {
			t.Run(fmt.Sprint(name, " masked ", masked), func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{MaskTokens: masked})
				w.Apply("web", withSession(""))
				id := w.Ready("web").Status.ID
				secret := w.Secret(name)
				base := secret.DeepCopy()
				secret.Immutable = new(true)
				if err := w.Client.Patch(t.Context(), secret, client.MergeFrom(base)); err != nil {
					t.Fatal(err)
				}
				w.Cloud.Remove(id)
				w.Poke("web")
				w.Stalled("web", v1alpha1.ReasonSecretWriteRefused, "is immutable: delete it")
				if err := w.Client.Delete(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
				w.Eventually("the Agent has another remote agent", func() error {
					if a := w.Get("web"); a.Status.ID == id || a.Status.ID == "" {
						return fmt.Errorf("its ID is %q", a.Status.ID)
					}
					return nil
				})
				w.Ready("web")
				w.One("web")
				if is := w.Secret(name); is == nil || is.UID == secret.UID {
					t.Errorf("the Secret is %v", is)
				}
			})
		}
	}
}
