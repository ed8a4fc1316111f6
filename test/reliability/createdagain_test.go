/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// An Agent that left its remote agent behind, and its Secret, is created again with another CloudProject of the same project, as of another
// team. The list of that one is older than the remote agent.
func TestCreatedAgain_WithAnotherCloudProject_FindsItsAgent(t *testing.T) {
	for _, same := range []bool{true, false} {
		t.Run(fmt.Sprint("the same CloudProject ", same), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.Create(w.NewCloudProject("second"))
			with := func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "second" }
			other := w.Ready(w.Apply("other", with)).Status.ID
			id := w.Ready(w.Apply("web")).Status.ID
			w.Change("web", func(a *v1alpha1.Agent) { a.Annotations = map[string]string{v1alpha1.AnnotationOrphan: "true"} })
			w.Delete("web")
			w.Gone("web")
			forget(w, "web-token")
			w.Eventually("its Secret is deleted", func() error {
				if w.Secret("web-token") != nil {
					return errors.New("it is there")
				}
				return nil
			})
			if same {
				w.Ready(w.Apply("web"))
			} else {
				w.Ready(w.Apply("web", with))
			}
			remains(w, other, id)
		})
	}
}
