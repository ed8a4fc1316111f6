/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const renewed = "renewed-project-token"

// rotate replaces the token of the project.
func rotate(w *harness.World) {
	w.Cloud.AddToken(w.ProjectID, renewed)
	w.Cloud.RevokeToken(w.Token)
}

func setToken(w *harness.World, token string) {
	w.Helper()
	w.SetSecret("calyptia-token", map[string]string{"token": token})
}

func TestARotatedTokenIsUsedFromTheNextRequest(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
	w.Ready(w.Apply("web"))
	w.Cloud.AddToken(w.ProjectID, renewed) // The former one is still valid, so nothing fails.
	setToken(w, renewed)
	w.Eventually("the new token is in use", func() error { return verifiedAgain(w, w.Token.Reveal()) })
	w.Cloud.ResetRequests()
	w.Poke("web")
	handled(w, "web")
	w.Apply("next")
	w.Ready("next")
	for _, r := range w.Cloud.Requests() {
		if got := r.Header.Get("Authorization"); got != "Bearer "+renewed {
			t.Errorf("%s %s has another token", r.Method, r.Path)
		}
	}
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 1 {
		t.Errorf("%d registrations, want one", n)
	}
}

// However the token is corrected, the waiting Agents continue within seconds, in the same process.
func TestWaitingAgentsContinueWithTheRightToken(t *testing.T) {
	rows := []struct {
		name  string
		wrong func(*harness.World)
		fixed func(*harness.World)
	}{
		{"a revoked token is replaced", rotate, func(w *harness.World) { setToken(w, renewed) }},
		{"a revoked token is valid again", func(w *harness.World) { w.Cloud.RevokeToken(w.Token) }, func(w *harness.World) {
			w.Cloud.AddToken(w.ProjectID, w.Token.Reveal())
			w.PokeProject()
		}},
		{"wrong, then right", func(w *harness.World) { setToken(w, "a-wrong-token") }, func(w *harness.World) { setToken(w, w.Token.Reveal()) }},
		{"wrong, wrong again, then right", func(w *harness.World) { setToken(w, "a-wrong-token") }, func(w *harness.World) {
			setToken(w, "another-wrong-token")
			setToken(w, w.Token.Reveal())
		}},
		{"not a token, then right", func(w *harness.World) { setToken(w, "two\nlines") }, func(w *harness.World) { setToken(w, w.Token.Reveal()) }},
		{"the Secret is deleted, then created", func(w *harness.World) { remove(w, w.Secret("calyptia-token")) },
			func(w *harness.World) { setToken(w, w.Token.Reveal()) }},
		{"the key is missing, then there", func(w *harness.World) { w.SetSecret("calyptia-token", map[string]string{"other": "x"}) },
			func(w *harness.World) { setToken(w, w.Token.Reveal()) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{})
			before := w.Ready(w.Apply("ready")).Status.ID
			row.wrong(w)
			w.Poke("ready")
			// Until the operator notices, the former token still works.
			w.Eventually("the CloudProject is not Ready", func() error {
				if apimeta.IsStatusConditionTrue(w.Project().Status.Conditions, v1alpha1.ConditionReady) {
					return errors.New("it is")
				}
				return nil
			})
			var names []string
			for i := range 5 {
				names = append(names, w.Apply(fmt.Sprintf("web-%d", i)))
			}
			for _, name := range names {
				w.NotReady(name, v1alpha1.ReasonProjectNotReady)
			}
			row.fixed(w)
			fixed := time.Now()
			for _, name := range names {
				w.Ready(name)
			}
			if took := time.Since(fixed); took > 10*time.Second {
				t.Errorf("they continued after %v", took)
			}
			if handled(w, "ready").Status.ID != before {
				t.Error("an existing agent was registered again")
			}
			if n := len(w.Remote()); n != len(names)+1 {
				t.Errorf("%d remote agents for %d Agents", n, len(names)+1)
			}
		})
	}
}

// Replacing the Secret, as GitOps tools do, disturbs no Agent.
func TestAReplacedSecretDisturbsNoAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	for range 5 {
		remove(w, w.Secret("calyptia-token"))
		setToken(w, w.Token.Reveal())
	}
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	w.Poke("web")
	handled(w, "web")
	if w.One("web").ID != id {
		t.Error("it was registered again")
	}
	w.Delete("web")
	w.Gone("web")
	remains(w)
}

// Only the signature in its intent makes a chosen machine ID a tenant's. Once the token that signed it is replaced, it
// cannot be verified: then user action is required, and nothing is registered twice or adopted.
func TestTheTokenChangesUnderATenantsChosenMachineID(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	entered, block := make(chan struct{}, 1), make(chan struct{})
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: block,
	})
	w.Guest(tenant, "web", machine("machine-1"))
	<-entered
	setToken(w, w.Cloud.AddProject(w.ProjectID).Reveal())
	close(block)
	w.Eventually("the first token was used", func() error {
		if len(w.Remote()) == 0 {
			return fmt.Errorf("nothing is registered")
		}
		return nil
	})
	w.Cloud.RevokeToken(w.Token)
	tenant.Stalled("web", v1alpha1.ReasonMachineIDConflict, "machine-1", "spec.agentID")
	if n := len(w.Remote()); n != 1 {
		t.Errorf("%d remote agents", n)
	}
}

// The token changes during a registration whose response is lost: the agent is found with the new token.
func TestTheTokenChangesBetweenIntentAndRecovery(t *testing.T) {
	rows := []struct {
		name   string
		tenant bool
		change func(*v1alpha1.Agent)
	}{
		{"a derived machine ID", false, func(*v1alpha1.Agent) {}},
		{"a chosen machine ID", false, machine("machine-1")},
		{"a derived machine ID of a tenant", true, func(*v1alpha1.Agent) {}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			in := w
			if row.tenant {
				in = tenant
			}
			entered, block := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: block,
			})
			w.Guest(in, "web", row.change)
			<-entered
			setToken(w, w.Cloud.AddProject(w.ProjectID).Reveal())
			close(block)
			w.Eventually("the first token was used", func() error {
				if len(w.Remote()) == 0 {
					return fmt.Errorf("nothing is registered")
				}
				return nil
			})
			w.Cloud.RevokeToken(w.Token)
			in.Ready("web")
			in.One("web")
		})
	}
}
