/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// refusesContent has something between the operator and the API refuse each registration whose configuration contains "DROP TABLE".
func refusesContent(w *harness.World) (restore func()) {
	return w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: http.StatusForbidden, Body: "<html>blocked</html>",
		Header: http.Header{"Content-Type": {"text/html"}},
		Match: func(r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			return err == nil && strings.Contains(string(body), "DROP TABLE")
		},
	})
}

func configured(text string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.RawConfig, a.Spec.RawConfigFrom = text, nil }
}

// A tenant keeps a registration with a chosen machine ID in doubt, with content that is refused, until another cluster registers that
// machine ID. The intent is authentic and covers the other's registration, but the agent does not show what was sent.
func TestIntent_KeptInDoubt_AdoptsNothing(t *testing.T) {
	for _, row := range []struct {
		name string
		then func(tenant *harness.World)
	}{
		{"until the content is harmless", func(tenant *harness.World) {
			tenant.Change("thief", configured("# harmless\n"))
			tenant.Check("thief")
			tenant.ReadyOrStalled("thief")
		}},
		{"with other content that is refused", func(tenant *harness.World) {
			tenant.Change("thief", configured("# DROP TABLE two\n"))
			tenant.Check("thief")
			tenant.ReadyOrStalled("thief")
		}},
		{"and deleted", func(*harness.World) {}},
	} {
		for _, server := range services[:2] { // Without a list nobody finds the other's agent.
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				refusesContent(w)
				w.Guest(tenant, "thief", machine("machine-1"), configured("# DROP TABLE one\n"))
				tenant.Stalled("thief", v1alpha1.ReasonInvalid, "something between the operator and the API")
				w.Register("elsewhere", "machine-1")
				victims := w.Remote()
				w.Cloud.ResetRequests()
				w.Clock.Step(w.Settings.Slack)
				row.then(tenant)
				learnedNothing(t, w, tenant, "thief", victims, server.settings)
			})
		}
	}
}

// As above, but nothing is listed, and the API responds to the next attempt with the agent that has the machine ID, unchanged.
func TestIntent_KeptInDoubt_TheResponseNamesAnothersAgent_AdoptsNothing(t *testing.T) {
	for name, deleted := range map[string]bool{"until the content is harmless": false, "and deleted": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true})
			restore := refusesContent(w)
			w.Guest(tenant, "thief", machine("machine-1"), configured("# DROP TABLE one\n"))
			tenant.Stalled("thief", v1alpha1.ReasonInvalid, "something between the operator and the API")
			made := w.Register("elsewhere", "machine-1")
			w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-3 * time.Second) }) // After the first attempt.
			victim, _ := w.Cloud.Agent(made.ID)
			restore()
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents,
				Status: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}},
				Body: fmt.Sprintf(`{"id":%q,"token":%q,"createdAt":%q,"name":"thief","environmentName":"default"}`,
					victim.ID, victim.Token.Reveal(), victim.CreatedAt.UTC().Format(time.RFC3339Nano)),
			})
			w.Cloud.ResetRequests()
			w.Clock.Step(w.Settings.Slack)
			if !deleted {
				tenant.Change("thief", configured("# harmless\n"))
				tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
			}
			learnedNothing(t, w, tenant, "thief", []cloud.Agent{victim}, cloudtest.Settings{})
		})
	}
}

// The response to an honest registration is lost, and its configuration or the source of that changes meanwhile: what counts is what was
// sent.
func TestIntent_ResponseLost_ConfigurationChangedMeanwhile_FindsItsAgent(t *testing.T) {
	for _, row := range []struct {
		name    string
		change  func(tenant *harness.World)
		deleted bool
		killed  bool // before it writes the status of the agent that it found
	}{
		{name: "the spec is edited", change: func(tenant *harness.World) { tenant.Change("own", configured("# edited\n")) }},
		{name: "its Secret is edited", change: func(tenant *harness.World) { tenant.SetSecret("source", map[string]string{"conf": "# edited\n"}) }},
		{name: "the spec is edited, and the operator killed", killed: true,
			change: func(tenant *harness.World) { tenant.Change("own", configured("# edited\n")) }},
		{name: "the spec is edited, and the Agent deleted", change: func(tenant *harness.World) { tenant.Change("own", configured("# edited\n")) }, deleted: true},
		{name: "its Secret and the Agent are deleted", change: func(tenant *harness.World) {
			if err := tenant.Client.Delete(t.Context(), tenant.Secret("source")); err != nil {
				tenant.Fatal(err)
			}
		}, deleted: true},
	} {
		for _, server := range services[:2] {
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				tenant.SetSecret("source", map[string]string{"conf": "# sent\n"})
				w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
				w.Guest(tenant, "own", machine("machine-1"), func(a *v1alpha1.Agent) {
					a.Spec.RawConfig, a.Spec.RawConfigFrom = "", &v1alpha1.KeySource{SecretKeyRef: &v1alpha1.SecretKeyReference{Name: "source", Key: "conf"}}
				})
				intentOf(tenant, "own")
				row.change(tenant)
				if row.killed {
					<-w.API.StopWhen(func(r *http.Request) bool {
						return strings.HasSuffix(r.URL.Path, "/own/status") && tenant.Secret("own-token") != nil
					})
					w.API.Before(nil)
					w.Stop()
					w.Start(tenant.Namespace)
				}
				if row.deleted {
					tenant.Delete("own")
					tenant.Gone("own")
					if remote := w.Remote(); len(remote) != 0 {
						t.Errorf("%d agents are left", len(remote))
					}
					return
				}
				tenant.Ready("own")
				tenant.Eventually("it has the edited configuration", func() error {
					if remote := w.Remote(); len(remote) != 1 || remote[0].RawConfig != "# edited\n" {
						return fmt.Errorf("there are %+v", remote)
					}
					return nil
				})
				tenant.HoldsToken("own", w.Remote()[0])
			})
		}
	}
}
