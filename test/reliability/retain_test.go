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
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func session(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} }

// deleteBy deletes an Agent with a propagation policy. Argo CD deletes in the foreground.
func deleteBy(w *harness.World, name string, policy metav1.DeletionPropagation) {
	w.Helper()
	if err := w.Client.Delete(context.Background(), w.Get(name), client.PropagationPolicy(policy)); err != nil {
		w.Fatal(err)
	}
}

// The Secrets of a retained agent outlive the Agent, however it is deleted: its Fluent Bit needs them.
func TestSecretsOfARetainedAgentSurviveItsDeletion(t *testing.T) {
	observe := func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncObserve }
	deletes := func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionDelete }
	rows := []struct {
		name   string
		change func(*v1alpha1.Agent)
		// late changes the Agent right before the deletion, without waiting for the operator.
		late func(*v1alpha1.Agent)
		// adopted registers the remote agent first.
		adopted bool
	}{
		{name: "deletionPolicy Retain", change: retain},
		{name: "deletionPolicy Retain, set right before", late: retain},
		{name: "syncPolicy Observe", change: observe, adopted: true},
		{name: "syncPolicy Observe, set right before", change: deletes, late: observe, adopted: true},
		{name: "adopted by agentID", adopted: true},
	}
	for _, row := range rows {
		for _, policy := range []metav1.DeletionPropagation{
			metav1.DeletePropagationForeground, metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan,
		} {
			t.Run(row.name+", "+string(policy), func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, cloudtest.Settings{})
				var id string
				if row.adopted {
					id = w.Register("legacy", "machine-1").ID
				}
				w.Ready(w.Apply("web", func(a *v1alpha1.Agent) {
					if row.adopted {
						adopting(id)(a)
					}
					if row.change != nil {
						row.change(a)
					}
					session(a)
				}))
				w.Stop() // The garbage collector has enough time.
				if row.late != nil {
					w.Change("web", row.late)
				}
				deleteBy(w, "web", policy)
				collected(w, "web")
				w.Start()
				w.Gone("web")
				for _, name := range []string{"web-token", "web-session"} {
					survives(w, name)
				}
				if len(w.Remote()) != 1 {
					t.Errorf("%d remote agents, want 1", len(w.Remote()))
				}
			})
		}
	}
}

// collected waits until the garbage collector is done, before the operator removes the finalizer.
func collected(w *harness.World, name string) {
	w.Helper()
	w.Eventually("the garbage collector is done", func() error {
		for _, finalizer := range w.Get(name).Finalizers {
			if finalizer == metav1.FinalizerDeleteDependents || finalizer == metav1.FinalizerOrphanDependents {
				return errors.New("it still holds the Agent with " + finalizer)
			}
		}
		return nil
	})
}

// survives checks that a Secret exists, is complete, and has no owner that would take it along.
func survives(w *harness.World, name string) {
	w.Helper()
	s := w.Secret(name)
	if s == nil {
		w.Fatalf("Secret %s is gone", name)
	}
	if len(s.OwnerReferences) != 0 || s.DeletionTimestamp != nil {
		w.Errorf("Secret %s is deleted with %v", name, s.OwnerReferences)
	}
	if want := map[string]int{"web-token": 2, "web-session": 3}[name]; len(s.Data) != want {
		w.Errorf("Secret %s holds %d keys, want %d", name, len(s.Data), want)
	}
}

// Also while the operator runs and the API is slow: foreground deletion with the finalizer still set.
func TestForegroundDeletionOfARetainedAgentWhileTheOperatorRuns(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", retain, session))
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Cut: cloudtest.CutBefore})
	deleteBy(w, "web", metav1.DeletePropagationForeground)
	w.Gone("web")
	survives(w, "web-token")
	survives(w, "web-session")
}

// The owner of the Secrets follows the policy at once, without a request to Calyptia Cloud. A Secret that is to be deleted
// with the Agent is deleted even if it has no owner yet.
func TestTheOwnerOfTheSecretsFollowsThePolicy(t *testing.T) {
	deletes := func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionDelete }
	for _, row := range []struct {
		name        string
		first, then func(*v1alpha1.Agent)
		owners      int
	}{
		{"from Delete to Retain", deletes, retain, 0},
		{"from Retain to Delete", retain, deletes, 1},
		{"from Delete to Retain while suspended", deletes, func(a *v1alpha1.Agent) { retain(a); a.Spec.Suspend = true }, 0},
		{"from Retain to Delete without a CloudProject", retain, func(a *v1alpha1.Agent) {
			deletes(a)
			a.Spec.ProjectRef.Name = "missing"
		}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{MaskTokens: true, MaskAs: "redacted"})
			w.Ready(w.Apply("web", row.first, session))
			w.One("web")
			token := w.Secret("web-token").Data
			w.Cloud.ResetRequests()
			w.Change("web", row.then)
			for _, name := range []string{"web-token", "web-session"} {
				w.Eventually("the owner follows", func() error {
					if got := len(w.Secret(name).OwnerReferences); got != row.owners {
						return fmt.Errorf("%s has %d owners, want %d", name, got, row.owners)
					}
					return nil
				})
				if at := w.Secret(name).Annotations[v1alpha1.AnnotationEndpoint]; (at == "") != (row.owners == 1) {
					t.Errorf("%s has %d owners and says that its agent is retained at %q", name, row.owners, at)
				}
			}
			if calls := w.Cloud.Requests(); len(calls) > 0 {
				t.Errorf("calls: %+v, want none", calls)
			}
			if diff := cmp.Diff(token, w.Secret("web-token").Data); diff != "" {
				t.Error("the token Secret changed")
			}
		})
	}
	t.Run("from Retain to Delete right before the deletion", func(t *testing.T) {
		t.Parallel()
		w := harness.New(t, cloudtest.Settings{})
		w.Ready(w.Apply("web", retain, session))
		w.Stop()
		w.Change("web", deletes)
		w.Delete("web")
		w.Start()
		w.Gone("web")
		for _, name := range []string{"web-token", "web-session"} {
			w.Eventually("it is deleted with the Agent", func() error {
				if w.Secret(name) != nil {
					return errors.New(name + " is there")
				}
				return nil
			})
		}
	})
}

// An Agent is retained no more, moves to another URL of the API, and is restored after its namespace was deleted.
func TestRestoredAgent_RetainedOnceAtAFormerURL_IsRegistered(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	api, _ := url.Parse(w.HTTP.URL)
	alias := httptest.NewServer(httputil.NewSingleHostReverseProxy(api))
	t.Cleanup(alias.Close)
	w.Ready(w.Apply("web", retain))
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.Eventually("the Secret has an owner", func() error {
		if len(w.Secret("web-token").OwnerReferences) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = alias.URL })
	w.Eventually("it is verified there", func() error {
		if a := w.Get("web"); a.Status.URL != alias.URL {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Ready("web")
	s := w.Secret("web-token")
	w.Delete("web")
	w.Gone("web")
	forget(w, "web-token")
	untilDeleted(w, s.DeepCopy())
	s.OwnerReferences, s.ResourceVersion, s.UID = nil, "", ""
	w.Create(s)
	w.Apply("web")
	if a := w.ReadyOrStalled("web"); harness.Condition(a, v1alpha1.ConditionReady).Status != metav1.ConditionTrue {
		t.Errorf("the restored Agent is %s", harness.Describe(a))
	}
}

// While an Agent with deletionPolicy Retain exists, no other Agent gets its Secrets, although they have no owner.
func TestSecretsOfALivingAgentThatRetainsAreNotAdopted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", retain, session))
	held := w.Secret("web-token")
	w.Cloud.Remove(w.Get("web").Status.ID)
	for name, change := range map[string]func(*v1alpha1.Agent){
		"thief":   func(a *v1alpha1.Agent) { a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "web-token"} },
		"robber":  func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"} },
		"swapper": func(a *v1alpha1.Agent) { a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: "web-session"} },
	} {
		w.Apply(name, change)
		w.Stalled(name, v1alpha1.ReasonSecretConflict)
	}
	if now := w.Secret("web-token"); now.Labels[v1alpha1.LabelAgentUID] != held.Labels[v1alpha1.LabelAgentUID] {
		t.Errorf("it is now kept for %v", now.Labels)
	}
	w.Poke("web")
	w.Eventually("the Agent is registered again", func() error {
		a := w.Get("web")
		if a.Status.ID == string(held.Data[v1alpha1.IDKey]) {
			return errors.New("not yet")
		}
		return nil
	})
	w.Ready("web")
	w.One("web")
}

// At no time can the garbage collector delete the Secret of an Agent with Retain, and a registration needs no extra write.
func TestARetainedSecretIsMadeWithoutAnOwner(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	w.Apply("web", retain)
	w.Start()
	w.Ready("web")
	var secrets []harness.Write
	writes, _ := w.API.Writes()
	for _, write := range writes {
		if strings.HasSuffix(write.Path, "/secrets") || strings.HasSuffix(write.Path, "/web-token") {
			secrets = append(secrets, write)
		}
	}
	// One is the copy of the credentials.
	if len(secrets) != 2 || secrets[0].Method != http.MethodPost || secrets[1].Method != http.MethodPost {
		t.Errorf("writes: %+v, want each Secret to be created and not written again", secrets)
	}
	survives(w, "web-token")
}
