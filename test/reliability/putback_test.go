/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// exported is the annotation of an Agent of another cluster, as a manifest in a repository may have it.
const exported = "2026-01-01T10:00:00Z/0011223344556677-00112233445566778899"

func annotate(w *harness.World, name, intent string) {
	w.Helper()
	w.Change(name, func(a *v1alpha1.Agent) {
		metav1.SetMetaDataAnnotation(&a.ObjectMeta, v1alpha1.AnnotationRegistrationIntent, intent)
	})
}

func chosen(id string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Spec.MachineID, a.Spec.DeletionPolicy = id, v1alpha1.DeletionDelete }
}

// A GitOps tool restores the annotation of the repository while the outcome of a registration is unknown, or somebody applies the manifest
// of another Agent. The intent of that registration must not be lost.
func TestIntent_ReplacedByAnOlderOneWhileInDoubt_IsNotForgotten(t *testing.T) {
	another, err := registration.NewIntent(time.Now().Add(time.Hour), registration.Attempt{}, registration.Intent{},
		registration.Subject{UID: "another"}, func(string) string { return "00112233445566778899" })
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		name, intent string
		change       func(*v1alpha1.Agent)
	}{
		{"a derived machine ID", exported, func(*v1alpha1.Agent) {}},
		{"a chosen machine ID", exported, chosen("machine-1")},
		{"a chosen machine ID, and the later intent of another Agent", another.String(), chosen("machine-1")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			tenant.Ready(w.Guest(tenant, "first"))
			w.Cloud.ResetRequests()
			entered, release := make(chan struct{}, 1), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{
				Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter, Entered: entered, Block: release,
			})
			w.Guest(tenant, "web", row.change)
			<-entered // After the list that it waits for.
			blind := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteList, Status: 500, Body: `{"error":"internal"}`})
			close(release)
			tenant.Eventually("the registration is in doubt", func() error {
				if a := tenant.Get("web"); len(a.Status.Conditions) < 2 || len(w.Remote()) != 2 {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
			annotate(tenant, "web", row.intent)
			tenant.Eventually("the record returns", func() error {
				if now := tenant.Get("web").Annotations[v1alpha1.AnnotationRegistrationIntent]; now == row.intent {
					return errors.New("it does not")
				}
				return nil
			})
			blind()
			tenant.Ready("web")
			if n := len(w.Remote()); n != 2 {
				t.Errorf("%d remote agents, want 2", n)
			}
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 1 {
				t.Errorf("%d registrations, want 1", n)
			}
		})
	}
}

// A tenant makes the operator forget which intent was closed, and restores it.
func TestIntent_RestoredAfterAnUnreadableOne_AdoptsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	thief := tenant.Ready(w.Guest(tenant, "thief", chosen("machine-1")))
	intent := thief.Annotations[v1alpha1.AnnotationRegistrationIntent]
	annotate(tenant, "thief", "unreadable")
	tenant.Poke("thief")
	tenant.Eventually("the intent of the Agent is closed", func() error {
		a := tenant.Get("thief")
		if a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Stop()
	own, _ := w.Cloud.Agent(thief.Status.ID)
	w.Cloud.Remove(thief.Status.ID)
	made := w.Register("elsewhere", "machine-1")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = own.CreatedAt.Add(time.Second) })
	victim, _ := w.Cloud.Agent(made.ID)
	annotate(tenant, "thief", intent)
	tenant.Poke("thief")
	w.Cloud.ResetRequests()
	w.Start(tenant.Namespace)
	tenant.Eventually("the thief is Stalled", func() error {
		a := tenant.Get("thief")
		if a.Status.ID == own.ID {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	tenant.ReadyOrStalled("thief")
	if tenant.Get("thief").Status.ID == victim.ID {
		t.Error("the thief has the victim's agent")
	}
	tenant.KeepsNothingOf("thief-token", victim)
	tenant.Delete("thief")
	tenant.Gone("thief")
	w.Unharmed([]cloud.Agent{victim})
}

// The intent of a replica whose clock is ahead is in doubt. The next intent still has a later time; otherwise that replica
// would restore its own.
func TestIntent_AfterOneFromAClockAhead_IsLater(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true}, harness.Idle)
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Cut: cloudtest.CutBefore})
	w.Clock.Step(time.Hour)
	w.Start()
	w.NotReady(w.Apply("web"), v1alpha1.ReasonRegistrationOutcomeUnknown)
	w.Stop()
	before := w.Get("web").Annotations[v1alpha1.AnnotationRegistrationIntent]
	w.Clock.Step(-time.Hour)
	w.Start()
	w.Eventually("there is another intent", func() error {
		if now := w.Get("web").Annotations[v1alpha1.AnnotationRegistrationIntent]; now == before {
			return errors.New("not yet")
		}
		return nil
	})
	after := registration.ParseIntent(w.Get("web").Annotations[v1alpha1.AnnotationRegistrationIntent])
	if former := registration.ParseIntent(before); !after.At.After(former.At) || after.First.Equal(after.At) {
		t.Errorf("%s comes after %s", after, former)
	}
}
