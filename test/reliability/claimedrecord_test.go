/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"testing"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

var elsewhere = uuid.NewString()

// wrongFirst: the CloudProject names the right project, and has the token of another one first, with which the Agent is registered. The right
// project has agents.
func wrongFirst(t *testing.T, settings cloudtest.Settings) (*harness.World, string) {
	t.Helper()
	w := harness.New(t, settings, harness.Idle, func(w *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.ProjectID = w.ProjectID
	})
	w.Cloud.AddToken(w.ProjectID, rightToken)
	w.Cloud.AddToken(elsewhere, wrongToken)
	w.Register("another", "m-another")
	setToken(w, wrongToken)
	w.Start()
	id := w.Ready(w.Apply("web")).Status.ID
	w.Check("web")
	return w, id
}

func useRightToken(w *harness.World) {
	w.Helper()
	setToken(w, rightToken)
	w.Eventually("the right token is in use", func() error { return verifiedAgain(w, wrongToken) })
}

func stillThere(w *harness.World, id string) (there bool) {
	for _, a := range w.Cloud.Agents(elsewhere) {
		there = there || a.ID == id
	}
	return there
}

// What the right token does not find was never shown to be in its project: it is not deleted.
func TestDelete_RegisteredWithTheTokenOfAnotherProject_LeavesNoAgentUnseen(t *testing.T) {
	for name, settings := range otherLists {
		for again, restarts := range map[string]bool{"same process": false, "restart": true} {
			t.Run(name+", "+again, func(t *testing.T) {
				t.Parallel()
				w, id := wrongFirst(t, settings)
				if restarts {
					w.Stop()
					w.Start()
				}
				useRightToken(w)
				w.Delete("web")
				gone := false
				w.Eventually("its deletion ends, or stalls", func() error {
					var a v1alpha1.Agent
					err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.Namespace, Name: "web"}, &a)
					if gone = apierrors.IsNotFound(err); gone || meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) {
						return nil
					}
					w.Clock.Step(w.Settings.GoneDelay)
					return errors.New("it is there")
				})
				if gone && stillThere(w, id) {
					t.Errorf("the Agent is gone, and its agent %s is left in the project where it was registered", id)
				}
			})
		}
	}
}

// Nor is it lost, so that another may be registered.
func TestMissing_RegisteredWithTheTokenOfAnotherProject_RegistersNothing(t *testing.T) {
	for name, settings := range otherLists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, id := wrongFirst(t, settings)
			useRightToken(w)
			before := w.Get("web").Status.LastHandledReconcileAt
			w.Poke("web")
			w.Eventually("it is checked", func() error {
				a := w.Get("web")
				if a.Status.LastHandledReconcileAt != before || meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) {
					return nil
				}
				w.Clock.Step(w.Settings.GoneDelay)
				return errors.New("not yet")
			})
			if now := w.Get("web").Status.ID; now != id && stillThere(w, id) {
				t.Errorf("the Agent has %s; its agent %s is left in the project where it was registered", now, id)
			}
		})
	}
}

// A retained agent lives on in the project where it was registered, and its Secret holds the only copy of its token.
func TestRetainedSecret_OfTheTokenOfAnotherProject_IsNotOverwritten(t *testing.T) {
	for name, settings := range otherLists {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, id := wrongFirst(t, settings)
			w.Change("web", retain)
			w.Check("web")
			w.Delete("web")
			w.Gone("web")
			before := w.Secret("web-token")
			useRightToken(w)
			w.Apply("web", retain)
			w.Eventually("it is Ready or Stalled", func() error {
				a := w.Get("web")
				if meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionStalled) || meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
					return nil
				}
				w.Clock.Step(w.Settings.GoneDelay)
				return errors.New(harness.Describe(a))
			})
			after := w.Secret("web-token")
			if stillThere(w, id) && (tokensecret.ID(after) != id || !tokensecret.Token(after).Equal(tokensecret.Token(before))) {
				t.Errorf("the Secret of the retained agent %s, which exists, now names %s, and its token is lost", id, tokensecret.ID(after))
			}
		})
	}
}
