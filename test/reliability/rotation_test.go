/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"context"
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

// rotate makes the service take another token of the project instead of the former one.
func rotate(w *harness.World) {
	w.Cloud.AddToken(w.ProjectID, renewed)
	w.Cloud.RevokeToken(w.Token)
}

func setToken(w *harness.World, token string) {
	w.Helper()
	w.SetSecret("calyptia-token", map[string]string{"token": token})
}

func TestANewTokenIsUsedFromTheNextCall(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, cp *v1alpha1.CloudProject) { cp.Spec.ProjectID = w.ProjectID })
	w.Ready(w.Apply("web"))
	w.Cloud.AddToken(w.ProjectID, renewed) // The former one still holds, so nothing fails.
	setToken(w, renewed)
	w.Eventually("the new token is in use", func() error { return provedAnew(w, w.Token.Reveal()) })
	w.Cloud.ResetRequests()
	w.Poke("web")
	handled(w, "web")
	w.Apply("next")
	w.Ready("next")
	for _, r := range w.Cloud.Requests() {
		if got := r.Header.Get("Authorization"); got != "Bearer "+renewed {
			t.Errorf("%s %s shows another token", r.Method, r.Path)
		}
	}
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 1 {
		t.Errorf("%d registrations, want one", n)
	}
}

// However the right token comes, those who were parked go on within seconds, in the same process.
func TestParkedAgentsWakeWithTheRightToken(t *testing.T) {
	rows := []struct {
		name   string
		wrong  func(*harness.World)
		mended func(*harness.World)
	}{
		{"a revoked token is replaced", rotate, func(w *harness.World) { setToken(w, renewed) }},
		{"a revoked token holds again", func(w *harness.World) { w.Cloud.RevokeToken(w.Token) }, func(w *harness.World) {
			w.Cloud.AddToken(w.ProjectID, w.Token.Reveal())
			pokeProject(w)
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
			before := w.Ready(w.Apply("settled")).Status.ID
			row.wrong(w)
			w.Poke("settled")
			// Until the operator has noticed, the former token serves as well as ever.
			w.Eventually("the CloudProject is not Ready", func() error {
				var cp v1alpha1.CloudProject
				if err := w.Client.Get(context.Background(), w.Key("calyptia"), &cp); err != nil {
					return err
				}
				if apimeta.IsStatusConditionTrue(cp.Status.Conditions, v1alpha1.ConditionReady) {
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
			row.mended(w)
			mended := time.Now()
			for _, name := range names {
				w.Ready(name)
			}
			if took := time.Since(mended); took > 10*time.Second {
				t.Errorf("they woke after %v", took)
			}
			if handled(w, "settled").Status.ID != before {
				t.Error("an agent that was there was registered anew")
			}
			if n := len(w.Remote()); n != len(names)+1 {
				t.Errorf("%d remote agents for %d Agents", n, len(names)+1)
			}
		})
	}
}

// A Secret that is replaced, as a GitOps tool does, costs no Agent anything.
func TestAReplacedSecretCostsNothing(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	for range 5 {
		remove(w, w.Secret("calyptia-token"))
		setToken(w, w.Token.Reveal())
	}
	projectBecomes(w, metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
	w.Poke("web")
	handled(w, "web")
	if w.One("web").ID != id {
		t.Error("it was registered anew")
	}
	w.Delete("web")
	w.Gone("web")
	remains(w)
}

// A tenant's chosen machine ID is its own only by the mark in its nonce, which nobody can tell from a forged one
// once the token that made it is gone: then a person decides, and nothing is registered twice or taken over.
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
	w.Eventually("the first token has done its work", func() error {
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

// The token changes while a registration is under way, and its answer is lost: the agent that it made is found
// with the new token.
func TestTheTokenChangesBetweenNonceAndRecovery(t *testing.T) {
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
			w.Eventually("the first token has done its work", func() error {
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
