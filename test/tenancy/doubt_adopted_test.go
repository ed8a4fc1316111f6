/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// unanswered creates an Agent whose registration takes effect, and whose response is lost. It returns the remote agent; sent is called
// when it is registered.
func unanswered(w *harness.World, name string, change func(*v1alpha1.Agent), sent func()) cloud.Agent {
	w.Helper()
	before := len(w.Remote())
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter,
		Match: func(*http.Request) bool { sent(); return true },
	})
	w.Apply(name, change)
	w.Eventually("it is registered", func() error {
		if len(w.Remote()) == before {
			return errors.New("it is not there")
		}
		return nil
	})
	w.NotReady(name, v1alpha1.ReasonRegistrationOutcomeUnknown)
	return w.Remote()[before]
}

// leftInDoubt is unanswered, and nothing is listed before listAgain is called.
func leftInDoubt(w *harness.World, name string, change func(*v1alpha1.Agent)) (made cloud.Agent, listAgain func()) {
	w.Helper()
	var sent atomic.Bool
	listAgain = w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Status: http.StatusServiceUnavailable,
		Match: func(r *http.Request) bool { return sent.Load() && r.URL.Query().Get("last") != "1" },
	})
	return unanswered(w, name, change, func() { sent.Store(true) }), listAgain
}

// toAlias changes the url of the CloudProject to another name of the same API.
func toAlias(w *harness.World) {
	w.Helper()
	there := alias(w)
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = there })
	recordedAt(w, "first", w.Get("first").Status.ID, there)
}

// toAnotherToken replaces the token of the CloudProject by another one of its project.
func toAnotherToken(w *harness.World) {
	w.Helper()
	replaceToken(w, w.Cloud.AddProject(w.ProjectID))
	w.ProjectBecomes(metav1.ConditionTrue, v1alpha1.ReasonCredentialsVerified)
}

// A tenant that may adopt names the agent that a registration of another team, whose response was lost, has created: through the same
// CloudProject or another of the project, and also after a restart.
func TestAdopt_CreatedByAnothersRegistrationInDoubt_Waits(t *testing.T) {
	explicit, derived := machine("machine-v"), func(*v1alpha1.Agent) {}
	for name, row := range map[string]struct {
		victim    func(*v1alpha1.Agent)
		through   string
		restarted bool
		forged    bool          // The other declares the machine ID, and writes an intent.
		later     time.Duration // The other comes only then; nothing can be listed meanwhile.
		behind    time.Duration // The clock of Calyptia Cloud.
		changes   func(*harness.World)
	}{
		"explicit":                     {victim: explicit, through: "calyptia"},
		"derived":                      {victim: derived, through: "calyptia"},
		"explicit, restarted":          {victim: explicit, through: "calyptia", restarted: true},
		"explicit, another one":        {victim: explicit, through: "other"},
		"derived, both of these":       {victim: derived, through: "other", restarted: true},
		"explicit, forged intent":      {victim: explicit, through: "calyptia", forged: true},
		"explicit, later":              {victim: explicit, through: "calyptia", later: 61 * time.Minute},
		"explicit, restarted, later":   {victim: explicit, through: "calyptia", restarted: true, later: 61 * time.Minute},
		"derived, restarted, later":    {victim: derived, through: "calyptia", restarted: true, later: 61 * time.Minute},
		"explicit, another url":        {victim: explicit, through: "calyptia", changes: toAlias},
		"explicit, another token":      {victim: explicit, through: "calyptia", changes: toAnotherToken},
		"derived, another clock there": {victim: derived, through: "calyptia", behind: 3500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := func() time.Time { return time.Now().Add(-row.behind) }
			w, tenant := harness.Shared(t, cloudtest.Settings{Now: clock}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption = v1alpha1.AdoptionAllowed
			})
			w.Ready(w.Apply("first"))
			other := w.NewCloudProject("other")
			other.Spec.Adoption, other.Spec.TokenSecretRef.Name = v1alpha1.AdoptionAllowed, "other-token"
			other.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
			w.Create(w.TokenSecret("other-token", w.Cloud.AddProject(w.ProjectID).Reveal()))
			w.Create(other)
			w.Ready(w.Apply("second", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = other.Name }))
			remote, listAgain := leftInDoubt(w, "victim", row.victim)
			id := remote.ID
			w.Clock.Step(row.later)
			if row.changes != nil {
				row.changes(w)
			}
			if row.restarted {
				w.Stop()
				w.Start(tenant.Namespace)
			}
			w.Guest(tenant, "thief", func(a *v1alpha1.Agent) {
				if row.forged {
					a.Spec.MachineID = "machine-v"
					forged(a)
				} else {
					a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id, DeletionPolicy: v1alpha1.DeletionDelete}
				}
				a.Spec.ProjectRef.Name = row.through
			})
			if !row.forged {
				tenant.NotReady("thief", v1alpha1.ReasonRemoteAlreadyManaged, "outcome is unknown")
			}
			listAgain()
			w.Clock.Step(w.Settings.Slack)
			w.Ready("victim")
			tenant.Poke("thief")
			tenant.Stalled("thief", v1alpha1.ReasonRemoteAlreadyManaged, "belongs to")
			if got := w.Get("victim").Status.ID; got != id || tenant.Get("thief").Status.ID != "" {
				t.Errorf("the victim has %q instead of %s, the thief %q", got, id, tenant.Get("thief").Status.ID)
			}
		})
	}
}

// A tenant's registration in doubt claims nothing that was there before: where nothing is listed, a filter puts each machine ID in doubt.
func TestAdopt_OlderThanAnothersRegistrationInDoubt_IsAdopted(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true})
	old := w.Register("old", "machine-old")
	w.Cloud.Mutate(old.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Hour) })
	refusesContent(w)
	w.Guest(tenant, "claims", machine("machine-old"), configured("# DROP TABLE one\n"))
	tenant.Stalled("claims", v1alpha1.ReasonInvalid, "something between the operator and the API")
	w.Ready(w.Apply("adopts", func(a *v1alpha1.Agent) {
		a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: old.ID}
	}))
}

// The tenant has its Agent record that agent at a server it controls first, and moves it to the shared CloudProject, or deletes it there.
func TestMove_ToWhatAnothersRegistrationInDoubtCreated_Waits(t *testing.T) {
	derived := func(*v1alpha1.Agent) {}
	for name, row := range map[string]struct {
		victim                        func(*v1alpha1.Agent)
		restarted, names, deletedHere bool
	}{
		"explicit":             {victim: machine("machine-v")},
		"explicit, restarted":  {victim: machine("machine-v"), restarted: true},
		"explicit, by agentID": {victim: machine("machine-v"), names: true},
		"derived, by agentID":  {victim: derived, names: true},
		"explicit, deleted":    {victim: machine("machine-v"), deletedHere: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption = v1alpha1.AdoptionAllowed
			})
			w.Ready(w.Apply("first"))
			remote, listAgain := leftInDoubt(w, "victim", row.victim)
			ownProject(tenant, lying(t, remote).URL)
			tenant.Apply("thief", in(tenant.Namespace, "own"), func(a *v1alpha1.Agent) {
				a.Spec.MachineID, a.Spec.DeletionPolicy = remote.MachineID, v1alpha1.DeletionDelete
				if row.names {
					a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: remote.ID, DeletionPolicy: v1alpha1.DeletionDelete}
				}
			})
			if got := tenant.Ready("thief").Status.ID; got != remote.ID {
				t.Fatalf("there it has %s", got)
			}
			if row.restarted {
				w.Stop()
				w.Start(tenant.Namespace)
			}
			if row.deletedHere {
				w.Stop()
			}
			tenant.Change("thief", in(w.Namespace, "calyptia"))
			if row.deletedHere {
				tenant.Delete("thief")
				w.Start(tenant.Namespace)
				tenant.Gone("thief")
			} else {
				tenant.NotReady("thief", v1alpha1.ReasonRemoteAlreadyManaged, "outcome is unknown")
				tenant.KeepsNothingOf("thief-token", remote)
			}
			listAgain()
			w.Clock.Step(w.Settings.Slack)
			if got := w.Ready("victim").Status.ID; got != remote.ID {
				t.Errorf("the victim has %s instead of %s", got, remote.ID)
			}
		})
	}
}

// A tenant that may adopt forges an intent for the machine ID of an agent that another team's Agent has. The url changes: that Agent stays
// Ready, and its deletion deletes its agent, also before it is checked there.
func TestURL_Changes_AForgedIntent_TakesNothingThatIsRecorded(t *testing.T) {
	for name, deleted := range map[string]bool{"it stays": false, "it is deleted before it is checked": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				cp.Spec.Adoption = v1alpha1.AdoptionAllowed
			})
			w.Ready(w.Apply("first"))
			id := w.Register("elsewhere", "machine-e").ID
			w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
				a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id, DeletionPolicy: v1alpha1.DeletionDelete}
			}))
			w.Guest(tenant, "claims", machine("machine-e"), forged, func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
			tenant.NotReady("claims", v1alpha1.ReasonSuspended)
			there := alias(w)
			w.Stop()
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = there })
			if deleted {
				w.Delete("web")
			}
			w.Start(tenant.Namespace)
			if !deleted {
				recordedAt(w, "web", id, there)
				return
			}
			w.Gone("web")
			if n := len(w.Remote()); n != 1 {
				t.Errorf("%d agents are left, want the first alone", n)
			}
		})
	}
}
