/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// If only this process knows that the remote agent existed, it records the deletion before it exits.
func TestADeletionOutlastsAShutdown(t *testing.T) {
	t.Parallel()
	const opaque = "opaque-token-of-the-project"
	w := harness.New(t, cloudtest.Settings{NoList: true}, harness.Idle)
	w.Cloud.AddToken(w.ProjectID, opaque)
	setToken(w, opaque)
	w.Start()
	w.Ready(w.Apply("web"))
	var halt sync.Once
	w.API.Before(func(r *http.Request) error {
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/agents/web") {
			halt.Do(w.Halt)
		}
		return nil
	})
	w.Delete("web")
	w.Gone("web")
	w.Stop()
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}

// The token of a re-registration is shown once.
func TestTheTokenOfAReregistrationOutlastsAShutdown(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: "redacted"})
	id := w.Ready(w.Apply("web")).Status.ID
	var halt sync.Once
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Match: func(*http.Request) bool {
		halt.Do(w.Halt)
		return false
	}})
	w.Cloud.Remove(id)
	remove(w, w.Secret("web-token"))
	w.Eventually("the agent is registered again", func() error {
		if len(w.Remote()) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	w.Restart()
	w.Ready("web")
	w.One("web")
}

// The process keeps the response of Calyptia Cloud, even if the API server refused every write.
func TestAResponseThatCouldNotBeWritten(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, server.settings)
			var down sync.Mutex
			failed := 0
			w.API.Before(func(r *http.Request) error {
				down.Lock()
				defer down.Unlock()
				token := r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/secrets")
				status := r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/agents/web/status")
				if len(w.Remote()) == 0 || failed >= 2 || !token && !status {
					return nil
				}
				failed++
				return errors.New("the API server cannot be reached")
			})
			w.Ready(w.Apply("web"))
			w.One("web")
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 1 {
				t.Errorf("%d registrations, want one", n)
			}
		})
	}
}

// A list takes longer than the age that it may have: it still completes.
func TestARequestToReconcileOutlastsASlowList(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Clock.Step(time.Minute)
	w.Cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Match: func(*http.Request) bool {
		w.Clock.Step(2 * w.Settings.Slack)
		return false
	}})
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
	w.Poke("web")
	handled(w, "web")
	if remote := w.One("web"); remote.Version != w.Get("web").Spec.Version {
		t.Errorf("the version is %s", remote.Version)
	}
}

// An Agent whose remote agent is gone is not Ready, however long it is queued.
func TestAnAgentThatWaitsForReregistrationIsNotReady(t *testing.T) {
	t.Parallel()
	one := int32(1)
	w := harness.New(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: &one, Burst: &one}
	})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Cloud.Remove(id)
	w.Poke("web")
	waited := false
	w.Eventually("the agent is registered again", func() error {
		a := w.Get("web")
		ready := harness.Condition(a, v1alpha1.ConditionReady)
		if a.Status.ID == "" {
			waited = true
			if ready.Status == "True" || ready.Reason != v1alpha1.ReasonRemoteDeleted {
				t.Fatalf("without a remote agent it is %s", harness.Describe(a))
			}
		}
		if a.Status.ID == id || ready.Status != "True" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	if !waited {
		t.Error("it never waited for its turn")
	}
	w.One("web")
}
