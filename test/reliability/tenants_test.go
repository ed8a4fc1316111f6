/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// forgedSecret is a token Secret like those of the operator, with the ID of another agent.
func forgedSecret(tenant *harness.World, agent *v1alpha1.Agent, name, id, intent string) {
	tenant.Helper()
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: agent.Name, UID: agent.UID}
	tenant.Create(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: tenant.Namespace, Name: name, OwnerReferences: []metav1.OwnerReference{owner},
			Labels:      map[string]string{v1alpha1.LabelAgentUID: string(agent.UID)},
			Annotations: map[string]string{v1alpha1.AnnotationRegistrationIntent: intent},
		},
		StringData: map[string]string{v1alpha1.IDKey: id},
	})
}

// A tenant may write Agents, Secrets and annotations in its namespace. That does not give it access to the agents of
// another tenant or cluster in the same project: their tokens, their configuration, their existence.
func TestATenantCannotReachAnother(t *testing.T) {
	when := func(at time.Time) string { return at.UTC().Format(time.RFC3339Nano) + "/forged" }
	past, future := when(time.Now().Add(-24*time.Hour)), when(time.Now().Add(24*time.Hour))
	rows := []struct {
		name   string
		intent string
		secret bool // a forged token Secret
		change func(victimID, victimMachine string) func(*v1alpha1.Agent)
	}{
		{name: "by agentID", change: func(id, _ string) func(*v1alpha1.Agent) { return adopting(id) }},
		{name: "by agentID, with a finalizer and an old intent", intent: past, change: func(id, _ string) func(*v1alpha1.Agent) {
			return func(a *v1alpha1.Agent) { adopting(id)(a); forgedFinalizer(a) }
		}},
		{name: "by machineID", change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
		{name: "by machineID, with an old intent", intent: past, change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
		{name: "by machineID, with an intent of the future", intent: future, change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
		{name: "by machineID, with an invalid intent", intent: "x", change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
		{name: "by a forged Secret", secret: true, change: func(string, string) func(*v1alpha1.Agent) { return func(*v1alpha1.Agent) {} }},
		{name: "by machineID and a forged Secret", secret: true, change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
		{name: "by machineID, a forged Secret and its intent", intent: past, secret: true, change: func(_, m string) func(*v1alpha1.Agent) { return machine(m) }},
	}
	for _, server := range services {
		for _, row := range rows {
			t.Run(server.name+"/"+row.name, func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, server.settings)
				w.Ready(w.Apply("derived"))
				w.Ready(w.Apply("chosen", machine("machine-of-the-victim")))
				elsewhere := w.Register("elsewhere", "machine-elsewhere") // By another cluster, long ago.
				w.Cloud.Mutate(elsewhere.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Hour) })
				w.Stop()
				w.Cloud.ResetRequests()
				victims := w.Remote()
				for i, victim := range victims {
					name := fmt.Sprintf("thief-%d", i)
					w.Guest(tenant, name, func(a *v1alpha1.Agent) {
						row.change(victim.ID, victim.MachineID)(a)
						a.Spec.DeletionPolicy = v1alpha1.DeletionDelete
						a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: name + "-loot"}
						if row.intent != "" {
							annotated(v1alpha1.AnnotationRegistrationIntent, row.intent)(a)
							forgedFinalizer(a)
						}
					})
					if row.secret {
						forgedSecret(tenant, tenant.Get(name), name+"-loot", victim.ID, row.intent)
					}
					// And one that is deleted before the operator ever sees it.
					w.Guest(tenant, name+"-gone", func(a *v1alpha1.Agent) {
						row.change(victim.ID, victim.MachineID)(a)
						a.Spec.DeletionPolicy = v1alpha1.DeletionDelete
						annotated(v1alpha1.AnnotationRegistrationIntent, row.intent)(a)
						forgedFinalizer(a)
					})
					tenant.Delete(name + "-gone")
				}
				w.Start(tenant.Namespace)
				for i := range victims {
					name := fmt.Sprintf("thief-%d", i)
					tenant.ReadyOrStalled(name)
					tenant.KeepsNothingOf(name+"-loot", victims[i])
					tenant.Delete(name)
					tenant.Gone(name)
					tenant.Gone(name + "-gone")
				}
				w.Unharmed(victims)
			})
		}
	}
}

// forgedFinalizer is the operator's finalizer.
func forgedFinalizer(a *v1alpha1.Agent) { a.Finalizers = []string{v1alpha1.AgentFinalizer} }

var services = []struct {
	name     string
	settings cloudtest.Settings
}{
	{"a list and unique machine IDs", cloudtest.Settings{}},
	{"a list and duplicates", cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}},
	{"no list and upserts", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}},
	{"no list and duplicates", cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble}},
}

// A tenant edits the Secret of its Agent to name another agent with the same machine ID.
func TestAnEditedSecretAdoptsNothing(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDDouble})
	victim := w.Register("elsewhere", "machine-1")
	// Times may lack fractions, so an agent created in the second of the intent counts as created after it.
	w.Cloud.Mutate(victim.ID, func(a *cloud.Agent) { a.CreatedAt = a.CreatedAt.Add(-time.Minute) })
	before := w.Remote()
	id := tenant.Ready(w.Guest(tenant, "thief", machine("machine-1"))).Status.ID
	s := tenant.Secret("thief-token")
	s.Data[v1alpha1.IDKey], s.Data[v1alpha1.TokenKey] = []byte(victim.ID), nil
	if err := tenant.Client.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	tenant.Eventually("the Secret is repaired", func() error {
		if got := string(tenant.Secret("thief-token").Data[v1alpha1.IDKey]); got != id {
			return fmt.Errorf("it has the id %s", got)
		}
		return nil
	})
	tenant.KeepsNothingOf("thief-token", before[0])
	tenant.Delete("thief")
	tenant.Gone("thief")
	w.Unharmed(before)
	remains(w, victim.ID)
}
