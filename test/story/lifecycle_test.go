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
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// register registers a remote agent externally.
func adopting(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) {
		a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id}
	}
}

func TestAdoptLeavesUndeclaredFieldsAlone(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	made := w.Register("legacy", "machine-1")
	w.Cloud.ResetRequests()
	a := w.Ready(w.Apply("web", adopting(made.ID)))
	if a.Status.Origin == v1alpha1.OriginRegistered || a.Status.MachineID != "machine-1" {
		t.Errorf("status: %+v", a.Status)
	}
	w.One("web")
	for _, r := range w.Cloud.Requests() {
		if r.Method != http.MethodGet {
			t.Errorf("adopting sent %s %s", r.Method, r.Path)
		}
	}
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v3.1.0" })
	w.Ready("web")
	if remote := w.One("web"); remote.Version != "v3.1.0" || remote.RawConfig != "[INPUT]\n    name mem\n" {
		t.Errorf("remote: %+v", remote)
	}
	if got := w.Events("web", 2); !slices.Contains(got, "Adopted") {
		t.Errorf("events: %v", got)
	}
	// An adopted agent outlives its Agent by default.
	w.Delete("web")
	w.Gone("web")
	if len(w.Remote()) != 1 {
		t.Error("the adopted agent was deleted")
	}
}

func TestAdoptRefusals(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	made := w.Register("legacy", "machine-1")
	other := w.Register("taken", "machine-2")
	w.Ready(w.Apply("holder", adopting(other.ID)))
	rows := []struct {
		name   string
		change func(*v1alpha1.Agent)
		reason string
		words  []string
	}{
		{"no such agent", adopting("5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"), v1alpha1.ReasonRemoteNotFound, []string{"spec.agentID", "correct"}},
		{"another type", func(a *v1alpha1.Agent) { adopting(made.ID)(a); a.Spec.Type = v1alpha1.AgentTypeFluentd },
			v1alpha1.ReasonRemoteMismatch, []string{"spec.type"}},
		{"another machine ID", func(a *v1alpha1.Agent) { adopting(made.ID)(a); a.Spec.MachineID = "machine-3" },
			v1alpha1.ReasonRemoteMismatch, []string{"spec.machineID"}},
		{"another Agent has it", adopting(other.ID), v1alpha1.ReasonRemoteAlreadyManaged, []string{"holder"}},
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := w.For(t)
			name := w.Apply(fmt.Sprintf("refused-%d", i), row.change)
			w.Stalled(name, row.reason, row.words...)
			w.Delete(name)
			w.Gone(name)
		})
	}
	if len(w.Remote()) != 2 {
		t.Errorf("the cloud has %d agents, want the 2 that were there", len(w.Remote()))
	}
}

func TestAnAgentIDDoesNotHideALostRegistration(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	other := w.Register("legacy", "machine-1")
	w.Ready(w.Apply("first"))
	// The agent is registered, but the operator gets no response and does not find it in the list for now.
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	blind := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
	w.Apply("web")
	w.Eventually("the registration is lost", func() error {
		if len(w.Remote()) != 3 {
			return errors.New("nothing is registered yet")
		}
		return nil
	})
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = other.ID })
	blind()
	a := w.Stalled("web", v1alpha1.ReasonRemoteMismatch, other.ID)
	if a.Status.ID == other.ID || a.Status.ID == "" {
		t.Errorf("status.id is %q", a.Status.ID)
	}
}

func TestAdoptionFromAnotherNamespaceNeedsPermission(t *testing.T) {
	t.Parallel()
	var cp *v1alpha1.CloudProject
	w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, p *v1alpha1.CloudProject) {
		p.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
		cp = p
	})
	tenant := w.AddNamespace("tenant")
	w.Start(tenant)
	made := w.Register("legacy", "machine-1")
	a := w.NewAgent("thief", adopting(made.ID))
	a.Namespace, a.Spec.ProjectRef.Namespace = tenant, w.Namespace
	w.Create(a)
	w.In(tenant).Stalled("thief", v1alpha1.ReasonAdoptionNotAllowed, "spec.adoption")
	base := cp.DeepCopy()
	cp.Spec.Adoption = v1alpha1.AdoptionAllowed
	if err := w.Client.Patch(context.Background(), cp, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
	w.In(tenant).Poke("thief")
	w.In(tenant).Ready("thief")
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	annotate := func(key string) func(*v1alpha1.Agent) {
		return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, "true") }
	}
	rows := []struct {
		name    string
		change  func(*v1alpha1.Agent)
		remains bool
		secret  bool
		event   string
	}{
		{"deletes what it registered", func(*v1alpha1.Agent) {}, false, false, "Deleted"},
		{"retains on request, with the Secret", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }, true, true, "Retained"},
		{"leaves an orphan on request", annotate(v1alpha1.AnnotationOrphan), true, false, "Orphaned"},
		{"works while suspended", func(a *v1alpha1.Agent) { a.Spec.Suspend = true }, false, false, "Deleted"},
	}
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{})
			name := w.Apply(fmt.Sprintf("delete-%d", i))
			w.Ready(name)
			w.Change(name, row.change)
			w.Ready(name)
			w.Cloud.ResetRequests()
			w.API.Reset()
			w.Delete(name)
			w.Gone(name)
			if writes, _ := w.API.Writes(); !row.secret && len(writes) != 1 {
				t.Errorf("writes: %+v, want only the release of the finalizer", writes)
			}
			if got := len(w.Remote()) == 1; got != row.remains {
				t.Errorf("the remote agent remains: %v, want %v", got, row.remains)
			}
			w.Eventually("the Secret is as it should be", func() error {
				if got := w.Secret(name+"-token") != nil; got != row.secret {
					return fmt.Errorf("the Secret remains: %v, want %v", got, row.secret)
				}
				return nil
			})
			if got := w.Events(name, 2); !slices.Contains(got, row.event) {
				t.Errorf("events: %v, want %s", got, row.event)
			}
			var calls []string
			for _, request := range w.Cloud.Requests() {
				calls = append(calls, request.Method)
			}
			if want := []string{http.MethodGet, http.MethodDelete, http.MethodGet}; !row.remains && !slices.Equal(calls, want) {
				t.Errorf("calls: %v, want one DELETE between the first read of the agent and the read that confirms it", calls)
			}
		})
	}
}

func TestRetainedAgentIsFoundAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, NoList: true})
	id := w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })).Status.ID
	w.Delete("web")
	w.Gone("web")
	if a := w.Ready(w.Apply("web")); a.Status.ID != id {
		t.Errorf("registered %s, want the retained %s", a.Status.ID, id)
	}
	w.One("web")
}

// The Secret of a retained agent keeps its name if a rename was not handled before.
func TestARetainedAgentKeepsItsSecretDespiteARename(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain }))
	w.Stop()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "renamed"} })
	w.Delete("web")
	w.Start()
	w.Gone("web")
	if owners := w.Secret("web-token").OwnerReferences; len(owners) != 0 {
		t.Errorf("it is deleted with %v", owners)
	}
}

func TestDeletionBeforeRegistrationNeedsNoCredentials(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "missing" })
	w.NotReady("web", v1alpha1.ReasonProjectNotFound, "create it")
	w.Delete("web")
	w.Gone("web")
}

func TestDeletionWaitsForItsCloudProjectWithAMessage(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	w.Cloud.RevokeToken(w.Token)
	w.Delete("web")
	w.NotReady("web", v1alpha1.ReasonProjectNotReady, "token", v1alpha1.AnnotationOrphan)
	w.Cloud.AddToken(w.ProjectID, "renewed-project-token")
	w.SetSecret("calyptia-token", map[string]string{"token": "renewed-project-token"})
	w.Gone("web")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}

func TestDeletionOfAnAgentThatWasDeletedExternally(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("410 is %v", gone), func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{GoneAfterDelete: gone})
			id := w.Ready(w.Apply("web")).Status.ID
			w.Cloud.Remove(id)
			w.Delete("web")
			w.Gone("web")
		})
	}
}
