/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package leftover_test tests what becomes of the Secrets of Agents that are gone where no garbage collector
// runs: one can miss the end of an Agent.
package leftover_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Run(m, testenv.Options{Controllers: []string{}})) }

// soon has the operator wait for the garbage collector for so long.
func soon(d time.Duration) harness.Option {
	return func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.SweepDelay = d }
}

func withSession(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }

// swept waits until of these Secrets none is there.
func swept(w *harness.World, names ...string) {
	w.Helper()
	w.Eventually("the Secrets are swept", func() error {
		for _, name := range names {
			if w.Secret(name) != nil {
				return fmt.Errorf("%s is there", name)
			}
		}
		return nil
	})
}

func TestSecretsThatAreLeftAreSwept(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, soon(time.Second))
	own := []string{"web-token", "web-session"}
	w.Ready(w.Apply("web", withSession))
	w.Ready(w.Apply("kept", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }))
	w.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: w.Namespace, Name: "mine", // Owned, but not the operator's work.
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(w.Get("web"), v1alpha1.GroupVersion.WithKind("Agent"))},
	}})
	deleted := time.Now()
	for _, name := range []string{"web", "kept"} {
		w.Delete(name)
		w.Gone(name)
	}
	swept(w, own...)
	if took := time.Since(deleted); took < time.Second {
		t.Errorf("they were swept after %s: the garbage collector had no time", took)
	}
	for _, name := range []string{"kept-token", "mine"} {
		if w.Secret(name) == nil {
			t.Errorf("Secret %s was swept, too", name)
		}
	}
}

func TestSecretsThatAreLeftAreSweptAfterARestart(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, soon(time.Hour))
	w.Ready(w.Apply("web"))
	w.Delete("web")
	w.Gone("web")
	w.Settings.SweepDelay = time.Millisecond
	w.Restart()
	swept(w, "web-token")
}

// A new Agent of the name takes over the Secrets that nobody swept: they are as good as deleted.
func TestANewAgentTakesOverWhatItsNamesakeLeft(t *testing.T) {
	t.Parallel()
	for _, settings := range []cloudtest.Settings{{}, {MaskTokens: true}, {NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}} {
		w := harness.New(t, settings, soon(time.Hour))
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

// What a former Agent of the name left under names that the new one does not use is swept by the new one.
func TestANewAgentSweepsWhatItsNamesakeLeft(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, soon(time.Hour))
	w.Ready(w.Apply("web", withSession, func(a *v1alpha1.Agent) {
		a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "moved"}
	}))
	w.Delete("web")
	w.Gone("web")
	w.Ready(w.Apply("web"))
	swept(w, "moved", "web-session")
	w.HoldsToken("web", w.One("web"))
}
