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
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestALaterCloudProjectTriggersItsAgents(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Name = "later" })
	w.NotReady("web", v1alpha1.ReasonProjectNotFound, "later", "create it", "spec.projectRef")
	w.Create(w.NewCloudProject("later"))
	w.Ready("web")
	w.One("web")
}

func TestDefaultProject(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) {
		w.Settings.DefaultProject = types.NamespacedName{Namespace: w.Namespace, Name: "calyptia"}
	})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = nil }))
	w.One("web")
}

func TestAllowedNamespaces(t *testing.T) {
	rows := []struct {
		name    string
		allowed *v1alpha1.AllowedNamespaces
		labels  map[string]string
		ready   bool
	}{
		{"Same denies other namespaces", &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSame}, nil, false},
		{"All allows every namespace", &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}, nil, true},
		{"Selector allows a namespace with the label", selecting("team", "web"), map[string]string{"team": "web"}, true},
		{"Selector denies a namespace without it", selecting("team", "web"), map[string]string{"team": "db"}, false},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle, func(_ *harness.World, p *v1alpha1.CloudProject) {
				p.Spec.AllowedNamespaces = row.allowed
			})
			tenant := w.AddNamespace("tenant")
			if row.labels != nil {
				patchNamespace(t, w, tenant, row.labels)
			}
			w.Start(tenant)
			a := w.NewAgent("web")
			a.Namespace, a.Spec.ProjectRef.Namespace = tenant, w.Namespace
			w.Create(a)
			if row.ready {
				w.In(tenant).Ready("web")
				w.In(tenant).Delete("web")
				w.In(tenant).Gone("web")
				if n := len(w.Remote()); n != 0 {
					t.Errorf("%d remote agents are left", n)
				}
				return
			}
			w.In(tenant).Stalled("web", v1alpha1.ReasonProjectNotAllowed, tenant, "spec.allowedNamespaces")
			if n := len(w.Remote()); n != 0 {
				t.Errorf("%d agents were registered", n)
			}
		})
	}
}

func TestAChangedCloudProjectRegistersWaitingAgentsAtOnce(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.Start(w.AddNamespace("tenant"))
	tenant := w.In(w.Namespace + "-tenant")
	w.Apply("own")
	change := func(change func(*v1alpha1.CloudProjectSpec)) {
		t.Helper()
		w.ChangeProject(func(cp *v1alpha1.CloudProject) { change(&cp.Spec) })
	}

	tenant.Apply("web", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Namespace = w.Namespace })
	tenant.Stalled("web", v1alpha1.ReasonProjectNotAllowed)
	change(func(s *v1alpha1.CloudProjectSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	})
	tenant.Ready("web")

	w.Change("own", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	id := w.Ready("own").Status.ID
	w.Delete("own")
	w.Gone("own")
	tenant.Apply("adopter", func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Namespace, a.Spec.AgentID = w.Namespace, id })
	tenant.Stalled("adopter", v1alpha1.ReasonAdoptionNotAllowed)
	change(func(s *v1alpha1.CloudProjectSpec) { s.Adoption = v1alpha1.AdoptionAllowed })
	tenant.Ready("adopter")
}

func selecting(key, value string) *v1alpha1.AllowedNamespaces {
	return &v1alpha1.AllowedNamespaces{
		From:     v1alpha1.NamespacesFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{key: value}},
	}
}

func patchNamespace(t *testing.T, w *harness.World, name string, labels map[string]string) {
	t.Helper()
	ns := &corev1.Namespace{}
	if err := w.Client.Get(context.Background(), client.ObjectKey{Name: name}, ns); err != nil {
		t.Fatal(err)
	}
	base := ns.DeepCopy()
	for key, value := range labels {
		metav1.SetMetaDataLabel(&ns.ObjectMeta, key, value)
	}
	if err := w.Client.Patch(context.Background(), ns, client.MergeFrom(base)); err != nil {
		t.Fatal(err)
	}
}

func TestSuspend(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Apply("new", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	w.NotReady("new", v1alpha1.ReasonSuspended, "spec.suspend")
	id := w.Ready(w.Apply("web")).Status.ID
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
	w.Becomes("web", v1alpha1.ConditionReady, "True", v1alpha1.ReasonSuspended)
	w.Cloud.ResetRequests()
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.4.4" })
	w.NotReady("web", v1alpha1.ReasonSuspended)
	if calls := w.Cloud.Requests(); len(calls) != 0 {
		t.Errorf("a suspended Agent caused %+v", calls)
	}
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Suspend = false })
	w.Ready("web")
	if remote, _ := w.Cloud.Agent(id); remote.Version != "v4.4.4" {
		t.Errorf("version %s after the suspension", remote.Version)
	}
}

func TestReadOnlyWritesNothingRemote(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(w *harness.World, _ *v1alpha1.CloudProject) { w.Settings.ReadOnly = true })
	made := w.Register("legacy", "machine-1")
	w.Cloud.ResetRequests()
	w.Apply("new")
	w.Stalled("new", v1alpha1.ReasonReadOnly, "--read-only")
	w.Apply("adopted", adopting(made.ID))
	w.Ready("adopted")
	w.Change("adopted", func(a *v1alpha1.Agent) { a.Spec.Version, a.Spec.DeletionPolicy = "v8.0.0", v1alpha1.DeletionDelete })
	w.Stalled("adopted", v1alpha1.ReasonReadOnly, "version")
	w.Delete("adopted")
	w.NotReady("adopted", v1alpha1.ReasonReadOnly, v1alpha1.AnnotationOrphan)
	for _, r := range w.Cloud.Requests() {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
	w.Change("adopted", func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
	})
	w.Gone("adopted")
	if len(w.Remote()) != 1 {
		t.Error("the remote agent was deleted")
	}
}

// A lost response to a registration, on the three kinds of servers without a list.
func TestLostResponseWithoutAList(t *testing.T) {
	cut := cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter}
	t.Run("upserts: one agent in the end", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
		w.Cloud.Inject(cut)
		w.Apply("web")
		w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
		w.Ready("web")
		w.One("web")
	})
	t.Run("409: the user names the agent", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true})
		w.Cloud.Inject(cut)
		w.Apply("web")
		w.Stalled("web", v1alpha1.ReasonRegistrationOutcomeUnknown, "spec.agentID")
		id := w.Remote()[0].ID
		w.Change("web", func(a *v1alpha1.Agent) { a.Spec.AgentID = id })
		if a := w.Ready("web"); a.Status.Origin != v1alpha1.OriginRegistered {
			t.Error("the agent that it registered counts as adopted")
		}
		w.One("web")
		w.Delete("web")
		w.Gone("web")
		if n := len(w.Remote()); n != 0 {
			t.Errorf("%d remote agents are left", n)
		}
	})
	t.Run("409: a deletion names the remedy", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true})
		w.Cloud.Inject(cut)
		w.Apply("web")
		w.Stalled("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
		w.Delete("web")
		w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown, v1alpha1.AnnotationOrphan)
		w.Change("web", func(a *v1alpha1.Agent) {
			metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationOrphan, "true")
		})
		w.Gone("web")
	})
	t.Run("upserts: deletion leaves nothing", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
		w.Cloud.Inject(cut)
		w.Apply("web")
		w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
		w.Delete("web")
		w.Gone("web")
		if n := len(w.Remote()); n != 0 {
			t.Errorf("%d remote agents are left", n)
		}
	})
	t.Run("duplicates: one duplicate at most, and it is ours", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
		w.Cloud.Inject(cut)
		w.Apply("web")
		a := w.Ready("web")
		if n := len(w.Remote()); n != 2 {
			t.Errorf("%d remote agents, want the lost one and ours", n)
		}
		remote, _ := w.Cloud.Agent(a.Status.ID)
		w.HoldsToken("web", remote)
	})
}

func TestALateCommitIsFoundAndNotDuplicated(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, DetachedDelay: 1})
	w.Apply("web")
	w.Ready("web")
	w.Cloud.Wait()
	w.One("web")
}

func TestRestartBetweenAnyTwoStepsOfARegistration(t *testing.T) {
	// The operator may send requests up to the named one, which fails, and none after it until it is restarted.
	rows := []struct{ name, method, suffix string }{
		{"before the intent", http.MethodPatch, "/agents/web"},
		{"before the Secret", http.MethodPost, "/secrets"},
		{"before the status", http.MethodPatch, "/agents/web/status"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			w.Ready(w.Apply("first"))
			w.Delete("first")
			w.Gone("first")
			stopped := w.API.StopAt(row.method, row.suffix)
			w.Apply("web")
			<-stopped
			w.Stop()
			w.API.Before(nil)
			w.Start()
			w.Ready("web")
			w.One("web")
		})
	}
}

func TestMachineIDOfTwoAgents(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble, NoList: true})
	same := func(a *v1alpha1.Agent) { a.Spec.MachineID = "machine-7" }
	w.Ready(w.Apply("first", same))
	w.Apply("second", same)
	w.Stalled("second", v1alpha1.ReasonMachineIDConflict, "first", "spec.machineID")
	w.Delete("second")
	w.Gone("second")
	w.One("first")
}

func TestNamespaceDeletionDeletesEverything(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	for i := range 5 {
		w.Ready(w.Apply(fmt.Sprintf("web-%d", i)))
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.Namespace}}
	if err := w.Client.Delete(context.Background(), ns); err != nil {
		t.Fatal(err)
	}
	w.Eventually("the namespace is deleted", func() error {
		if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(ns), ns); client.IgnoreNotFound(err) != nil || err == nil {
			return errors.New("it is there")
		}
		return nil
	})
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}
