/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// wrong is not the project of the World.
const wrong = "99999999-9999-4999-8999-999999999999"

// leadsTo waits until the CloudProject is verified for a project.
func leadsTo(w *harness.World, project string) {
	w.Helper()
	w.Eventually("the CloudProject leads to "+project, func() error {
		var cp v1alpha1.CloudProject
		err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp)
		if cp.Status.ProjectID != project || !meta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
			return errors.Join(fmt.Errorf("it does not: %+v", cp.Status), err)
		}
		return nil
	})
}

func TestGoneIsRegisteredAgainAtAVerifiedEndpoint(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web"))
	w.Cloud.Remove(before.Status.ID)
	w.Poke("web")
	w.Eventually("the agent is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Ready("web")
	w.One("web")
	if got := w.Events("web", 2); !slices.Contains(got, "Reregistered") {
		t.Errorf("events: %v", got)
	}
}

func TestGoneWithItsSecretIsRegisteredAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web"))
	w.Cloud.Remove(before.Status.ID)
	if err := w.Client.Delete(context.Background(), w.Secret("web-token")); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the agent is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Ready("web")
	w.One("web")
}

// Where only this process knows that the agent existed, a 404 of an update does not invalidate that.
func TestGoneIsNoticedByAnUpdateToo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true})
	w.Cloud.AddToken(w.ProjectID, "opaque-token-of-the-project")
	w.SetSecret("calyptia-token", map[string]string{"token": "opaque-token-of-the-project"})
	before := w.Ready(w.Apply("web"))
	w.Cloud.Remove(before.Status.ID)
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.9" })
	w.Eventually("the agent is registered again", func() error {
		if a := w.Get("web"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	if remote := w.One("web"); remote.Version != "v4.0.9" {
		t.Errorf("the version is %s", remote.Version)
	}
}

// A 404 of an update that a read does not confirm is not a lost update.
func TestAnUpdateWithA404IsRetried(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPatch, Route: cloudtest.RouteAgent, Times: 1, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
	})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.0.9" })
	if a := w.Ready("web"); len(a.Status.IgnoredFields) > 0 {
		t.Errorf("ignored fields: %v", a.Status.IgnoredFields)
	}
	if remote := w.One("web"); remote.Version != "v4.0.9" {
		t.Errorf("the version is %s", remote.Version)
	}
}

// An Agent with an agentID is never registered again.
func TestGoneWithAnAgentIDIsNotRegisteredAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID, a.Spec.SyncPolicy = id, v1alpha1.SyncObserve })
	w.Ready("web")
	w.Cloud.Remove(id)
	w.Poke("web")
	w.Stalled("web", v1alpha1.ReasonRemoteNotFound, id)
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents", n)
	}
}

func TestNotFoundAtAnotherEndpointDestroysNothing(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	before := w.Ready(w.Apply("web"))
	other := w.Cloud.AddProject(wrong)
	w.SetSecret("calyptia-token", map[string]string{"token": other.Reveal()})
	a := w.Stalled("web", v1alpha1.ReasonRemoteNotFound, w.ProjectID, "correct")
	if a.Status.ID != before.Status.ID || len(w.Remote()) != 1 || len(w.Cloud.Agents(wrong)) != 0 {
		t.Error("something was forgotten or registered")
	}
	w.SetSecret("calyptia-token", map[string]string{"token": w.Token.Reveal()})
	w.Ready("web")
	w.One("web")
}

// A registration that completes in another project is recorded for that project.
func TestARegistrationWhileItsProjectIsCorrected(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	mistaken := w.Cloud.AddProject(wrong)
	w.SetSecret("calyptia-token", map[string]string{"token": mistaken.Reveal()})
	leadsTo(w, wrong)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Entered: entered, Block: release, Times: 1})
	w.Apply("web")
	<-entered
	w.SetSecret("calyptia-token", map[string]string{"token": w.Token.Reveal()})
	leadsTo(w, w.ProjectID)
	close(release)
	a := w.Stalled("web", v1alpha1.ReasonRemoteNotFound, wrong)
	if made := w.Cloud.Agents(wrong); len(made) != 1 || made[0].ID != a.Status.ID || len(w.Remote()) != 0 {
		t.Errorf("%d agents in the wrong project, %d in the right one, recorded is %s", len(made), len(w.Remote()), a.Status.ID)
	}
	w.SetSecret("calyptia-token", map[string]string{"token": mistaken.Reveal()})
	w.Ready("web")
	w.Delete("web")
	w.Gone("web")
	if left := w.Cloud.Agents(wrong); len(left) != 0 {
		t.Errorf("%d agents are left", len(left))
	}
}

// An agent that may have been registered in the wrong project is reported once the CloudProject is corrected.
func TestALostResponseInAProjectThatWasCorrected(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.SetSecret("calyptia-token", map[string]string{"token": w.Cloud.AddProject(wrong).Reveal()})
	inWrong := func(r *http.Request) bool { return !strings.Contains(fmt.Sprint(r.Header), w.Token.Reveal()) }
	var lost atomic.Bool
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter,
		Match: func(r *http.Request) bool {
			lost.Store(lost.Load() || inWrong(r))
			return inWrong(r)
		},
	})
	// Only from here on; otherwise the operator finds the lost agent before the token is corrected.
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Cut: cloudtest.CutBefore, Match: func(r *http.Request) bool { return lost.Load() && inWrong(r) },
	})
	leadsTo(w, wrong)
	w.Apply("web")
	w.Eventually("the registration is lost", func() error {
		if len(w.Cloud.Agents(wrong)) == 0 {
			return errors.New("nothing is registered yet")
		}
		return nil
	})
	w.SetSecret("calyptia-token", map[string]string{"token": w.Token.Reveal()})
	w.Eventually("the agent is registered in the right project", func() error {
		if len(w.Remote()) != 1 {
			return errors.New(harness.Describe(w.Get("web")))
		}
		return nil
	})
	w.Ready("web")
	w.Eventually("an event reports the agent in the wrong project", func() error {
		if got := w.Events("web", 2); !slices.Contains(got, "MaybeOrphaned") {
			return fmt.Errorf("events: %v", got)
		}
		return nil
	})
}
