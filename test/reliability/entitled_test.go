/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/registration"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A deleted Agent chose the machine ID of another owner's agent, and Calyptia Cloud returns that agent for a registration.
func TestDeletion_InDoubtAboutAnotherOwnersAgent_Completes(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
	made := w.Register("elsewhere", "machine-elsewhere-1")
	w.Cloud.Mutate(made.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Hour) })
	victim, _ := w.Cloud.Agent(made.ID)
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutBefore})
	w.Guest(tenant, "web", chosen("machine-elsewhere-1"))
	tenant.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
	tenant.Delete("web")
	tenant.Gone("web")
	w.Unharmed([]cloud.Agent{victim})
	if events := tenant.Events("web", 1); !slices.Contains(events, "MaybeOrphaned") {
		t.Errorf("events are %v", events)
	}
}

// The token was replaced while a registration was in doubt, and the agent that is found belongs to another Agent of the cluster.
func TestDeletion_InDoubtAboutAnotherAgentsAgent_Completes(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, server.settings)
			victim, _ := w.Cloud.Agent(w.Ready(w.Apply("web", chosen("machine-1"))).Status.ID)
			w.Stop()
			w.Apply("other", chosen("machine-1"))
			intent, err := registration.NewIntent(time.Now().Add(-time.Minute), registration.Attempt{}, registration.Intent{},
				registration.Subject{UID: string(w.Get("other").UID)}, func(string) string { return "00112233445566778899" })
			if err != nil {
				t.Fatal(err)
			}
			annotate(w, "other", intent.String())
			w.Start()
			w.ReadyOrStalled("other")
			w.Delete("other")
			w.Gone("other")
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// A namespace that is no longer allowed causes requests only about its registered agents, and registers none.
func TestDeletion_NoLongerAllowed_RegistersNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true})
	a := tenant.Ready(w.Guest(tenant, "web"))
	w.Stop()
	var cp v1alpha1.CloudProject
	if err := w.Client.Get(t.Context(), w.Key("calyptia"), &cp); err != nil {
		t.Fatal(err)
	}
	cp.Spec.AllowedNamespaces = nil
	if err := w.Client.Update(t.Context(), &cp); err != nil {
		t.Fatal(err)
	}
	w.Cloud.Remove(a.Status.ID)
	annotate(tenant, "web", "2999-01-01T10:00:00Z/0011223344556677-00112233445566778899")
	tenant.Delete("web")
	w.Cloud.ResetRequests()
	w.Start(tenant.Namespace)
	tenant.Eventually("the deletion ends or stalls", func() error {
		if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n > 0 {
			return nil
		}
		var list v1alpha1.AgentList
		if err := w.Client.List(t.Context(), &list); err != nil {
			return err
		}
		for i := range list.Items {
			if list.Items[i].UID == a.UID && harness.Condition(&list.Items[i], v1alpha1.ConditionStalled).Status != metav1.ConditionTrue {
				return errors.New(harness.Describe(&list.Items[i]))
			}
		}
		return nil
	})
	if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
		t.Errorf("%d registrations of a namespace that is not allowed", n)
	}
}

// The token is replaced while a registration is in doubt, and the next attempt is refused. The first may have succeeded.
func TestDeletion_RefusedAfterTheTokenWasReplacedInDoubt_LeavesNothing(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert})
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Cut: cloudtest.CutAfter})
	w.Apply("web")
	w.Eventually("the registration is in doubt", func() error {
		if a := w.Get("web"); len(a.Status.Conditions) < 2 || len(w.Remote()) != 1 {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Stop()
	const next = "another-token-of-the-project-0123456789"
	w.Cloud.AddToken(w.ProjectID, next)
	w.SetSecret("calyptia-token", map[string]string{v1alpha1.TokenKey: next})
	refuse := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Status: 400, Body: `{"error":"invalid agent raw config"}`})
	before := w.Get("web").Annotations[v1alpha1.AnnotationRegistrationIntent]
	w.Start()
	w.Eventually("the registration is refused", func() error {
		a := w.Get("web")
		if a.Annotations[v1alpha1.AnnotationRegistrationIntent] == before {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.Poke("web")
	w.Eventually("the deletion is handled", func() error {
		a := w.Get("web")
		if a.Status.RegistrationIntent == "" && w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents) < 3 {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	refuse()
	w.Delete("web")
	w.Gone("web")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d remote agents are left", n)
	}
}
