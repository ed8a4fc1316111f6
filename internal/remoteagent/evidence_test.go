/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/registration"
)

// holding gives a pass the way to a service with this project token.
func holding(t *testing.T, p *Task, token string) *Task {
	t.Helper()
	p.CloudProject.Spec.URL = "https://cloud-api.calyptia.com"
	registry := connection.NewRegistry(connection.Options{Policy: cloud.URLPolicy{AllowedHosts: []string{"cloud-api.calyptia.com"}}})
	var err error
	p.Project, err = registry.Configure(p.CloudProject, connection.Credentials{Token: cloud.NewToken(token)})
	if err != nil {
		t.Fatal(err)
	}
	p.Endpoint = p.Project.Endpoint()
	return p
}

// By which evidence a remote agent that shows the Agent's machine ID is the Agent's to use, change and delete.
func TestEntitled_NeedsEvidenceThatTheTenantCannotWrite(t *testing.T) {
	const here, elsewhere = "https://cloud-api.calyptia.com", "https://cloud.tenant.example"
	const id, project = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11", "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11"
	chosen := func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-1" }
	recorded := func(url string, origin v1alpha1.Origin) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) {
			a.Status.ID, a.Status.URL, a.Status.MachineID, a.Status.Origin = id, url, "machine-1", origin
		}
	}
	inProject := func(url, projectID, cloudProject string) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) {
			recorded(url, v1alpha1.OriginAdopted)(a)
			a.Status.ProjectID, a.Status.CloudProjectUID = projectID, cloudProject
		}
	}
	for _, row := range []struct {
		name     string
		change   func(*v1alpha1.Agent)
		own      bool // the CloudProject is in the Agent's namespace
		adoption v1alpha1.Adoption
		intent   time.Time // when the Agent's open intent was written, here
		forged   bool
		closed   time.Time // when the intent was written that is closed, at closedAt
		closedAt string
		project  string // that the CloudProject has
		created  time.Time
		sent     string // the configuration that the open intent was written with
		shown    string // the configuration that the remote agent shows
		want     bool
	}{
		{name: "a derived machine ID is nobody else's", created: noon.Add(-time.Hour), want: true},
		{name: "a chosen one, in the CloudProject's own namespace", change: chosen, own: true, created: noon.Add(-time.Hour), want: true},
		{name: "a chosen one, where adoption is allowed", change: chosen, adoption: v1alpha1.AdoptionAllowed, created: noon.Add(-time.Hour), want: true},
		{name: "a chosen one, created by our registration", change: chosen, intent: noon, created: noon.Add(time.Second), want: true},
		{name: "a chosen one, by a clock that is a little behind", change: chosen, intent: noon, created: noon.Add(-2 * time.Second), want: true},
		{name: "a chosen one, that shows what was sent", change: chosen, intent: noon, created: noon, sent: "# ours", shown: "# ours", want: true},
		{name: "a chosen one, that shows something else", change: chosen, intent: noon, created: noon, sent: "# ours", shown: "# another's"},
		{name: "a derived one, that shows something else", intent: noon, created: noon, sent: "# ours", shown: "# changed", want: true},
		{name: "a chosen one, that shows something else, in the CloudProject's own namespace", change: chosen, own: true, intent: noon, created: noon, sent: "# ours", shown: "# changed", want: true},
		{name: "a chosen one, recorded, that shows something else", change: recorded(here, v1alpha1.OriginRegistered), intent: noon, closed: noon, closedAt: here, created: noon, sent: "# ours", shown: "# changed", want: true},
		{name: "a chosen one that was there before", change: chosen, intent: noon, created: noon.Add(-3 * time.Second)},
		{name: "a chosen one, created long after our registration", change: chosen, intent: noon.Add(-time.Hour), created: noon},
		{name: "a chosen one, without an intent", change: chosen, created: noon},
		{name: "a chosen one, with a forged intent", change: chosen, intent: noon, forged: true, created: noon.Add(time.Second)},
		{name: "a chosen one, with an intent that was closed", change: chosen, intent: noon, closed: noon, closedAt: here, created: noon.Add(time.Second)},
		{name: "a chosen one, with an intent older than the closed one", change: chosen, intent: noon.Add(-time.Minute), closed: noon, closedAt: here, created: noon},
		{name: "recorded at this endpoint", change: recorded(here, v1alpha1.OriginRegistered), created: noon.Add(-time.Hour), want: true},
		{name: "adopted at this endpoint", change: recorded(here, v1alpha1.OriginAdopted), created: noon.Add(-time.Hour), want: true},
		{name: "recorded through this CloudProject, whose former token contained the project", change: inProject(here, project, "cp"), created: noon, want: true},
		{name: "recorded through this CloudProject, whose former token did not contain the project", change: inProject(here, "", "cp"), project: project, created: noon, want: true},
		{name: "recorded through this CloudProject in another project", change: inProject(here, id, "cp"), project: project, created: noon},
		{name: "recorded through this CloudProject at another URL", change: inProject(elsewhere, project, "cp"), created: noon},
		{name: "recorded through another CloudProject, whose token contains its project", change: inProject(here, project, "tenant's"), created: noon},
		{name: "recorded through another CloudProject, whose token does not contain its project", change: inProject(here, "", "tenant's"), project: project, created: noon},
		{name: "recorded at another endpoint", change: recorded(elsewhere, v1alpha1.OriginRegistered), created: noon.Add(-time.Hour)},
		{name: "adopted at another endpoint", change: recorded(elsewhere, v1alpha1.OriginAdopted), created: noon.Add(-time.Hour)},
		{name: "registered at another URL with this project's token", change: recorded(elsewhere, v1alpha1.OriginRegistered), closed: noon, closedAt: elsewhere, created: noon.Add(time.Second), want: true},
		{name: "adopted at another URL while an intent was closed there", change: recorded(elsewhere, v1alpha1.OriginAdopted), closed: noon, closedAt: elsewhere, created: noon.Add(time.Second)},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := holding(t, taskFor(), "the-project-token")
			p.CloudProject.UID, p.Endpoint.ProjectID = "cp", row.project
			intentAt := func(at time.Time, url string) string {
				intent, err := registration.NewIntent(at, registration.Attempt{Sent: sentBy(p, row.sent)}, registration.Intent{}, (Evidence{p}).subject(url), p.Project.Sign)
				if err != nil {
					t.Fatal(err)
				}
				return intent.String()
			}
			remote := &cloud.Agent{ID: id, MachineID: p.derived(), CreatedAt: row.created, RawConfig: row.shown}
			if row.change != nil {
				row.change(p.Agent)
				remote.MachineID = p.MachineID()
			}
			if !row.closed.IsZero() {
				p.Agent.Status.RegistrationIntent = intentAt(row.closed, row.closedAt)
			}
			if !row.intent.IsZero() {
				text := intentAt(row.intent, here)
				if row.forged {
					text = text[:len(text)-1] + "x"
				}
				if row.intent.Equal(row.closed) {
					text = p.Agent.Status.RegistrationIntent
				}
				annotated(v1alpha1.AnnotationRegistrationIntent, text)(p.Agent)
			}
			if !row.own {
				p.CloudProject.Namespace = "platform"
			}
			p.CloudProject.Spec.Adoption = row.adoption
			if got := known(Evidence{p}, remote, p.Intent()).Entitled(); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// sentBy is the digest of a configuration in an intent; empty for none, as in an intent of an earlier version.
func sentBy(p *Task, config string) string {
	if config == "" {
		return ""
	}
	return (Evidence{p}).sent(config)
}

// The digest of what is sent is as much bound to the project token as the signature of the intent: each CloudProject that has it knows
// what was sent through another.
func TestSent_IsOfTheTokenAndTheAgent(t *testing.T) {
	sent := func(cloudProject, token, agent string) string {
		p := taskFor()
		p.Agent.Spec.MachineID, p.Agent.UID, p.CloudProject.UID = "machine-1", types.UID(agent), types.UID(cloudProject)
		return Evidence{holding(t, p, token)}.sent("# sent")
	}
	first := sent("cp-1", "token-1", "agent-1")
	if again := sent("cp-2", "token-1", "agent-1"); again != first || first == "" {
		t.Errorf("it is %q, and %q through another CloudProject with the token", first, again)
	}
	if first == sent("cp-1", "token-2", "agent-1") || first == sent("cp-1", "token-1", "agent-2") {
		t.Error("it is the same with another token, or of another Agent")
	}
}

func TestTheMachineIDOfAnAgent(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   string
	}{
		{"derived", func(*v1alpha1.Agent) {}, "6fb93865-063f-5b35-862d-531cebeb0c74"},
		{"chosen", func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-1" }, "machine-1"},
		{"recorded, whatever the cluster is called now", func(a *v1alpha1.Agent) { a.Status.MachineID = "recorded" }, "recorded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := taskFor(row.change).MachineID(); got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

// Registration is resumed between the decision and its execution.
func TestWaits_RegistrationsOpenedMeanwhile_DoesNotGoOnUnregistered(t *testing.T) {
	p := holding(t, &Task{endpoint: endpoint{CloudProject: &v1alpha1.CloudProject{}}}, "a-token-of-the-project")
	if err := (&registrar{Task: p}).waits(t.Context(), registration.Action{Kind: registration.Wait, Code: registration.RegistrationPaused}); err == nil {
		t.Error("the reconciliation continues without a remote agent")
	}
}
