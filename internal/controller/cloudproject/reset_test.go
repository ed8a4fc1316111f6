/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// loses removes most remote agents of a CloudProject.
func (w *world) loses(cp *v1alpha1.CloudProject) {
	w.Helper()
	p := w.projects.Lookup(cp.UID)
	for i := range 10 {
		_ = p.Gone(ratelimit.Caller{UID: types.UID(fmt.Sprint(i))}, time.Now())
	}
	w.becomes(cp, stalledBy(v1alpha1.ReasonMassDeletionDetected))
}

// opened waits until a user's reset took effect.
func (w *world) opened(cp *v1alpha1.CloudProject) {
	w.Helper()
	// The status may still be that of the process before.
	w.eventually("this process to know the CloudProject", func() bool { return w.projects.Lookup(cp.UID) != nil })
	now := w.becomes(cp, verified)
	if want := cp.Annotations[v1alpha1.AnnotationReconcileAt]; now.Status.LastHandledReconcileAt != want {
		w.Errorf("handled is %q, want %q", now.Status.LastHandledReconcileAt, want)
	}
	if err := w.projects.Lookup(cp.UID).RegistrationPaused(); err != nil {
		w.Errorf("registration is paused: %v", err)
	}
}

func TestAResetRequestedWhileTheOperatorWasDownCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *options) { o.settings = cloudtest.Settings{NoList: true} })
	cp := w.becomes(w.create(), verified)
	w.loses(cp)
	w.restart() // A detected mass deletion survives a restart.
	w.eventually("the loss to be remembered", func() bool { p := w.projects.Lookup(cp.UID); return p != nil && p.Tripped() != nil })
	w.becomes(cp, stalledBy(v1alpha1.ReasonMassDeletionDetected))
	w.restart(func() { w.poke(cp) })
	w.opened(cp)

	w.restart() // A reset covers what is lost soon after, but not in another process.
	w.becomes(cp, verified)
	w.eventually("a credential check", func() bool { p := w.projects.Lookup(cp.UID); return p != nil && p.Result().Verified })
	w.loses(cp)
	w.restart() // A handled request does not reset the next mass deletion.
	w.eventually("a credential check", func() bool { p := w.projects.Lookup(cp.UID); return p != nil && p.Result().Verified })
	w.stays("it stops", func() bool { return w.projects.Lookup(cp.UID).Tripped() != nil })
}

// While the credentials or the URL cannot be used, Ready says so. The mass deletion is recorded all the same, also by a process that has
// not used the CloudProject.
func TestADetectedMassDeletionSurvivesRestartsWhileReadyHasAnotherReason(t *testing.T) {
	t.Parallel()
	restore := func(w *world, _ *v1alpha1.CloudProject) { w.putToken(w.token.Reveal()) }
	for _, other := range []struct {
		name, reason string
		cause, fix   func(*world, *v1alpha1.CloudProject)
	}{{
		"only a copy of the Secret", v1alpha1.ReasonSourceNotFound,
		func(w *world, _ *v1alpha1.CloudProject) { w.deleteSecret(tokenName) }, restore,
	}, {
		"neither the Secret nor a copy", v1alpha1.ReasonSourceNotFound,
		func(w *world, _ *v1alpha1.CloudProject) {
			w.deleteSecret(tokenName)
			w.deleteSecret("main-credentials")
		}, restore,
	}, {
		"a host that is not allowed", v1alpha1.ReasonURLNotAllowed,
		func(w *world, cp *v1alpha1.CloudProject) {
			w.Edit(cp, func() { cp.Spec.URL = "https://elsewhere.example" })
		},
		func(w *world, cp *v1alpha1.CloudProject) { w.Edit(cp, func() { cp.Spec.URL = w.url }) },
	}} {
		t.Run(other.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *options) { o.settings = cloudtest.Settings{NoList: true} })
			cp := w.becomes(w.create(), verified)
			w.loses(cp)
			both := stalledBy(other.reason, "most remote agents disappeared")
			other.cause(w, cp)
			w.becomes(cp, both)
			w.restart(func() { // The new generation makes the next process write the status.
				w.Edit(cp, func() { cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Hour} })
			})
			w.becomes(cp, both)
			w.restart(func() { other.fix(w, cp) })
			w.becomes(cp, stalledBy(v1alpha1.ReasonMassDeletionDetected))
		})
	}
}

func TestAResetRequestedWhileTheAPIWasUnreachableCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *options) { o.settings = cloudtest.Settings{NoList: true} })
	cp := w.becomes(w.create(), verified)
	w.loses(cp)
	w.Edit(cp, func() { cp.Spec.URL = "https://elsewhere.example" })
	w.becomes(cp, stalledBy(v1alpha1.ReasonURLNotAllowed))
	w.poke(cp)
	w.stays("it is not handled", func() bool {
		return w.becomes(cp, stalledBy(v1alpha1.ReasonURLNotAllowed)).Status.LastHandledReconcileAt == ""
	})
	w.Edit(cp, func() { cp.Spec.URL = w.url })
	w.opened(cp)
}
