/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

func TestGetWaitsForTheCredentialCheck(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	unknown := &v1alpha1.CloudProject{}
	unknown.UID = "another"
	_, err := w.registry.Get(unknown, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	_, err = w.registry.Get(w.cp, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)

	noError(t, w.Verify(t.Context()))
	got, err := w.registry.Get(w.cp, somebody.Namespace)
	noError(t, err)
	if got != w.Connection {
		t.Error("another Project")
	}
	if w.wakes.Load() != 1 {
		t.Errorf("the Agents were woken %d times", w.wakes.Load())
	}

	w.registry.Forget(w.cp.UID)
	_, err = w.registry.Get(w.cp, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	_, err = w.Acquire(somebody)
	w.refused(err, v1alpha1.ReasonProjectNotFound)
	if w.registry.Lookup(w.cp.UID) != nil {
		t.Error("it is not forgotten")
	}
}

func TestConfigureRejectsImpossibleSpecs(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.CloudProject, *connection.Credentials)
		reason string
	}{
		{"another host", func(cp *v1alpha1.CloudProject, _ *connection.Credentials) {
			cp.Spec.URL = "http://elsewhere.example"
		}, v1alpha1.ReasonURLNotAllowed},
		{"another project than the token's", func(cp *v1alpha1.CloudProject, _ *connection.Credentials) {
			cp.Spec.ProjectID = otherID
		}, v1alpha1.ReasonInvalid},
		{"a CA bundle that is none", func(_ *v1alpha1.CloudProject, c *connection.Credentials) {
			c.CABundle = []byte("none")
		}, v1alpha1.ReasonInvalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			credentials := connection.Credentials{Token: w.token}
			row.change(w.cp, &credentials)
			_, err := w.registry.Configure(w.cp, credentials)
			if f := w.failure(err, row.reason); f.Class != fault.Terminal {
				t.Errorf("class %s", f.Class)
			}
		})
	}
}

func TestWhatChangesMustBeVerifiedAgain(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*world)
		again  bool
	}{
		{"nothing", func(*world) {}, false},
		{"the rate limit", func(w *world) { w.limit(5, 5) }, false},
		{"the resync interval", func(w *world) { w.cp.Spec.ResyncInterval = nil; w.cp.Generation++ }, false},
		{"the project ID that the token reveals anyway", func(w *world) { w.cp.Spec.ProjectID = projectID }, false},
		{"the token", func(w *world) { w.token = w.cloud.AddProject(projectID) }, true},
		{"the authentication", func(w *world) { w.cp.Spec.Authentication = v1alpha1.AuthenticationBearer }, true},
		{"the URL", func(w *world) { w.cp.Spec.URL += "/base" }, true},
		{"the project", func(w *world) { w.token = w.cloud.AddProject(otherID) }, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			version := w.Version()
			row.change(w)
			w.configure()
			_, err := w.registry.Get(w.cp, somebody.Namespace)
			if again := err != nil; again != row.again {
				t.Errorf("the check has to be repeated: %v, want %v", again, row.again)
			}
			if changed := w.Version() != version; changed != row.again {
				t.Errorf("the version changed: %v, want %v", changed, row.again)
			}
		})
	}
}

func TestABlockLastsUntilTheNextCheck(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	w.Block(fault.Waitingf(v1alpha1.ReasonProjectNotReady, "not now"))
	w.configure()
	_, err := w.registry.Get(w.cp, somebody.Namespace)
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	noError(t, w.Verify(t.Context()))
	if _, err := w.registry.Get(w.cp, somebody.Namespace); err != nil || w.wakes.Load() != 1 {
		t.Errorf("after the check: %v, woken %d times", err, w.wakes.Load())
	}
}

func TestPausedRegistrationAllowsDeletions(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.register("first")
	admitted, err := w.Acquire(ratelimit.Caller{UID: "late"}) // Before they are closed.
	noError(t, err)
	w.PauseRegistration(fault.Waitingf(v1alpha1.ReasonProjectNotReady, "being deleted"))
	w.refused(w.RegistrationPaused(), v1alpha1.ReasonProjectNotReady)

	_, err = admitted.Register(t.Context(), registration("late"))
	w.refused(err, v1alpha1.ReasonProjectNotReady)
	if e, ok := cloud.AsError(err); !ok || !e.NothingMade() {
		t.Errorf("%v does not say that nothing was registered", err)
	}
	if got := w.cloud.Count(http.MethodPost, ""); got != 1 {
		t.Errorf("%d registrations were sent", got)
	}
	p, err := w.registry.Get(w.cp, somebody.Namespace)
	noError(t, err)
	noError(t, p.Delete(t.Context(), somebody, id))

	epoch := w.Epoch()
	w.PauseRegistration(nil)
	w.PauseRegistration(nil)
	if w.wakes.Load() != 1 || w.Epoch() == epoch {
		t.Errorf("resuming woke the Agents %d times", w.wakes.Load())
	}
	noError(t, w.RegistrationPaused())
}

func TestAnEndpointHasTheCleanURL(t *testing.T) {
	registry := connection.NewRegistry(connection.Options{Policy: cloud.URLPolicy{AllowedHosts: []string{"cloud.example"}}})
	cp := &v1alpha1.CloudProject{Spec: v1alpha1.CloudProjectSpec{URL: "https://cloud.example/base/"}}
	cp.Namespace, cp.Name = "infra", "main"
	p, err := registry.Configure(cp, connection.Credentials{Token: cloud.NewToken("opaque")})
	noError(t, err)
	if want := (connection.Endpoint{URL: "https://cloud.example/base"}); p.Endpoint() != want {
		t.Errorf("endpoint %+v, want %+v", p.Endpoint(), want)
	}
}
