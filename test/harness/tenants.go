/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// Shared is a World whose CloudProject allows every namespace, and the namespace of a tenant in it.
func Shared(t testing.TB, settings cloudtest.Settings, options ...Option) (w, tenant *World) {
	t.Helper()
	options = append([]Option{Idle, func(_ *World, cp *v1alpha1.CloudProject) {
		cp.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromAll}
	}}, options...)
	w = New(t, settings, options...)
	namespace := w.AddNamespace("tenant")
	w.Start(namespace)
	return w, w.In(namespace)
}

// Guest creates an Agent in the namespace of a tenant that uses the CloudProject of the World.
func (w *World) Guest(tenant *World, name string, changes ...func(*v1alpha1.Agent)) string {
	w.Helper()
	changes = append([]func(*v1alpha1.Agent){func(a *v1alpha1.Agent) { a.Spec.ProjectRef.Namespace = w.Namespace }}, changes...)
	return tenant.Apply(name, changes...)
}

// ReadyOrStalled waits until an Agent is Ready or Stalled.
func (w *World) ReadyOrStalled(name string) *v1alpha1.Agent {
	w.Helper()
	return w.until("Agent "+name+" becomes Ready or Stalled", name, func(a *v1alpha1.Agent) error {
		if Condition(a, v1alpha1.ConditionReady).Status != metav1.ConditionTrue &&
			Condition(a, v1alpha1.ConditionStalled).Status != metav1.ConditionTrue {
			return fmt.Errorf("it is %s", Describe(a))
		}
		return nil
	})
}

// KeepsNothingOf checks that a Secret does not have the token of the victim's agent.
func (w *World) KeepsNothingOf(secret string, victim cloud.Agent) {
	w.Helper()
	if s := w.Secret(secret); s != nil && cloud.NewToken(string(s.Data[v1alpha1.TokenKey])).Equal(victim.Token) {
		w.Errorf("Secret %s holds the token of another's agent", secret)
	}
}

// Unharmed checks that agents are unchanged, and that there was no request to change or delete them. A registration changes agents of
// another cluster, with these machine IDs, where the API upserts and lists nothing: that cannot be known in advance.
func (w *World) Unharmed(victims []cloud.Agent) {
	w.Helper()
	unseen := false
	w.Cloud.Configure(func(s *cloudtest.Settings) { unseen = s.NoList && s.UniqueMachineIDs == cloudtest.MachineIDUpsert })
	for _, before := range victims {
		after, there := w.Cloud.Agent(before.ID)
		if !there {
			w.Errorf("the agent %s was deleted", before.Name)
			continue
		}
		if after.RawConfig != before.RawConfig || after.Name != before.Name || after.Version != before.Version {
			if !unseen || !strings.HasPrefix(before.MachineID, "machine-elsewhere") {
				w.Errorf("the agent %s was changed: %+v", before.Name, after)
			}
		}
	}
	for _, r := range w.Cloud.Requests() {
		for _, victim := range victims {
			if r.AgentID == victim.ID && (r.Method == http.MethodDelete || r.Method == http.MethodPatch) {
				w.Errorf("%s of the agent %s", r.Method, victim.Name)
			}
		}
	}
}
