/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Proxies and gateways have their own 404. It does not mean that the agent is not found: nothing is forgotten or
// registered, and a deletion waits.
func TestNotFoundFromAProxyIsNoEvidence(t *testing.T) {
	rows := []struct{ name, contentType, body string }{
		{"a proxy's page", "text/html", "<html><body><h1>404 Not Found</h1></body></html>"},
		{"an ingress without a backend", "text/plain", "default backend - 404"},
		{"a gateway without a route", "application/json", `{"message":"no Route matched with those values"}`},
		{"a server that lost the project", "application/json", `{"error":"project not found"}`},
		{"an empty response", "", ""},
		{"Spring without the route", "application/json",
			`{"timestamp":"2026-11-01T12:00:00Z","path":"/v1/agents/x","status":404,"error":"Not Found"}`},
		{"Rails without the route", "application/json", `{"status":404,"error":"Not Found"}`},
		{"NestJS without the route", "application/json", `{"statusCode":404,"message":"Cannot GET /v1/agents/x","error":"Not Found"}`},
		{"a resolver that lost the host", "application/json", `{"error":"host not found"}`},
	}
	for i, row := range rows {
		for _, settings := range []cloudtest.Settings{{}, {NoList: true}} {
			name := fmt.Sprintf("%s, no list %v", row.name, settings.NoList)
			t.Run(name, func(t *testing.T) { notFoundInBetween(t, settings, rows[i].contentType, rows[i].body) })
		}
	}
}

func notFoundInBetween(t *testing.T, settings cloudtest.Settings, contentType, body string) {
	t.Parallel()
	w := harness.New(t, settings, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.OutageGrace = time.Millisecond
	})
	before := w.Ready(w.Apply("web"))
	w.Ready(w.Apply("doomed"))
	restore := w.Cloud.Inject(cloudtest.Fault{
		Status: http.StatusNotFound, Header: http.Header{"Content-Type": {contentType}}, Body: body,
	})
	both := remoteIDs(w)
	w.Cloud.ResetRequests()
	w.Poke("web")
	w.Delete("doomed")
	w.NotReady("doomed", v1alpha1.ReasonInvalidResponse, "404", "url", v1alpha1.AnnotationOrphan)
	after := w.NotReady("web", v1alpha1.ReasonInvalidResponse, "404", "url")
	w.Eventually("it was looked at more than once", func() error {
		if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteAgent); n < 2 {
			return fmt.Errorf("%d reads", n)
		}
		return nil
	})
	if after.Status.ID != before.Status.ID {
		t.Error("the remote agent was forgotten")
	}
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d registrations", n)
	}
	remains(w, both...)
	restore()
	w.Gone("doomed")
	w.Ready("web")
	w.One("web")
}

// A "not found" without a name counts only if a list that began afterwards lacks the agent, too.
func TestNotFound_WithoutAName_AListDecides(t *testing.T) {
	bare := cloudtest.Fault{Route: cloudtest.RouteAgent, Status: http.StatusNotFound, Body: `{"error":"not found"}`}
	t.Run("there is no list", func(t *testing.T) {
		notFoundInBetween(t, cloudtest.Settings{NoList: true}, "application/json", bare.Body)
	})
	for _, gone := range []bool{true, false} {
		t.Run(fmt.Sprintf("the agents are gone: %v", gone), func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
				w.Settings.OutageGrace = time.Millisecond
			})
			before, doomed := w.Ready(w.Apply("web")), w.Ready(w.Apply("doomed"))
			restore := w.Cloud.Inject(bare)
			if gone {
				w.Cloud.Remove(before.Status.ID)
				w.Cloud.Remove(doomed.Status.ID)
			}
			both := remoteIDs(w)
			w.Poke("web")
			w.Delete("doomed")
			if gone {
				w.Gone("doomed")
				w.Eventually("it is registered again", func() error {
					if a := w.Get("web"); a.Status.ID == before.Status.ID || a.Status.ID == "" {
						return fmt.Errorf("it is %s", harness.Describe(a))
					}
					return nil
				})
			} else {
				w.NotReady("doomed", v1alpha1.ReasonInvalidResponse, "404", "url", v1alpha1.AnnotationOrphan)
				w.NotReady("web", v1alpha1.ReasonInvalidResponse, "404", "url")
				remains(w, both...)
			}
			restore()
			w.Gone("doomed")
			w.Ready("web")
			w.One("web")
		})
	}
}

// Credentials or a URL of another project find no agent. That is not evidence of a deletion.
func TestNotFoundInAnotherProjectIsNoEvidence(t *testing.T) {
	opaque := func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Cloud.AddToken(w.ProjectID, "opaque-token-of-the-right-project")
		w.SetSecret("calyptia-token", map[string]string{"token": "opaque-token-of-the-right-project"})
	}
	elsewhere := func(w *harness.World, token string) {
		w.Cloud.AddToken(uuid.NewString(), token)
		w.SetSecret("calyptia-token", map[string]string{"token": token})
	}
	rows := []struct {
		name     string
		settings cloudtest.Settings
		set      func(*harness.World)             // sets a token that does not name its project
		named    bool                             // the CloudProject names the project
		away     func(*testing.T, *harness.World) // leads elsewhere
		home     func(*harness.World)             // and back
		restart  bool
	}{
		{
			name: "a token that names another project",
			away: func(_ *testing.T, w *harness.World) {
				w.SetSecret("calyptia-token", map[string]string{"token": w.Cloud.AddProject(uuid.NewString()).Reveal()})
			},
		},
		{name: "a token of another project that does not name it", set: func(w *harness.World) { opaque(w, nil) },
			away: func(_ *testing.T, w *harness.World) { elsewhere(w, "opaque-token-of-another-project") }},
		{name: "a token of another project that does not name it, after a restart", restart: true, set: func(w *harness.World) { opaque(w, nil) },
			away: func(_ *testing.T, w *harness.World) { elsewhere(w, "opaque-token-of-another-project") }},
		{name: "a token of another project than spec.projectID, without a list", named: true,
			settings: cloudtest.Settings{NoList: true}, set: func(w *harness.World) { opaque(w, nil) },
			away: func(_ *testing.T, w *harness.World) { elsewhere(w, "opaque-token-of-another-project") }},
		{
			name: "another server that accepts the same token",
			away: func(t *testing.T, w *harness.World) {
				other := cloudtest.New(cloudtest.Settings{})
				other.AddToken(w.ProjectID, w.Token.Reveal())
				server := other.Start()
				t.Cleanup(server.Close)
				t.Cleanup(func() {
					if n := len(other.Agents(w.ProjectID)); n != 0 {
						t.Errorf("%d agents were registered elsewhere", n)
					}
				})
				w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = server.URL })
			},
			home: func(w *harness.World) {
				w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = w.HTTP.URL })
			},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, row.settings, func(w *harness.World, cp *v1alpha1.CloudProject) {
				if row.named {
					cp.Spec.ProjectID = w.ProjectID
				}
			})
			if row.set != nil {
				row.set(w)
			}
			before := w.Ready(w.Apply("web"))
			w.Ready(w.Apply("doomed"))
			held := string(w.Secret("calyptia-token").Data["token"])
			both := remoteIDs(w)
			if row.restart {
				w.Stop()
			}
			row.away(t, w)
			if row.restart {
				w.Start()
			}
			w.Eventually("the CloudProject uses the other token or URL", func() error { return verifiedAgain(w, held) })
			w.Cloud.ResetRequests()
			w.Poke("web")
			w.Delete("doomed")
			w.Stalled("doomed", v1alpha1.ReasonRemoteNotFound, "correct", v1alpha1.AnnotationOrphan)
			after := w.Stalled("web", v1alpha1.ReasonRemoteNotFound, "correct")
			if after.Status.ID != before.Status.ID {
				t.Error("the remote agent was forgotten")
			}
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
				t.Errorf("%d registrations", n)
			}
			remains(w, both...)
			if row.home != nil {
				row.home(w)
			} else {
				w.SetSecret("calyptia-token", map[string]string{"token": held})
			}
			w.Gone("doomed")
			w.Ready("web")
			w.One("web")
		})
	}
}

// verifiedAgain is nil once the operator's copy of the credentials, or the URL in force, is no longer the former one.
func verifiedAgain(w *harness.World, former string) error {
	if c := w.Secret("calyptia-credentials"); c != nil && string(c.Data["token"]) != former {
		return nil
	}
	if cp := w.Project(); cp.Status.URL != w.HTTP.URL {
		return nil
	}
	return fmt.Errorf("it still uses the former one")
}
