/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func (s *scene) set(tenant *harness.World, name, workload string, changes ...func(*v1alpha1.AgentSet)) {
	s.Helper()
	tenant.AgentSet(name, workload, append([]func(*v1alpha1.AgentSet){func(set *v1alpha1.AgentSet) {
		set.Spec.Template.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "calyptia", Namespace: s.Namespace}
	}}, changes...)...)
}

func ofStatefulSet(set *v1alpha1.AgentSet) { set.Spec.TargetRef.Kind = v1alpha1.TargetStatefulSet }

func controlledBy(kind, name string, uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: kind, Name: name, UID: uid, Controller: &yes}}
}

// Tenants have sets with the names, the labels, the owners and the Secrets of the victim's set.
func TestAgentSet_LikeTheVictims_LearnsAndWritesNothing(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.Nodes("a", "b")
	s.AgentSet("logs", s.DaemonSet("logs"))
	victim := s.SetReady("logs", 2)
	s.victims = s.Remote()
	before := s.Secret("logs-sessions-0")
	for _, tenant := range s.tenants() {
		labels := map[string]string{v1alpha1.LabelAgentSet: "logs", v1alpha1.LabelAgentSetUID: string(victim.UID),
			v1alpha1.LabelAgentUID: string(s.AgentsOf("logs")[s.Node("a")].UID), v1alpha1.LabelAgentSetKey: s.Node("a")}
		for i, owners := range [][]metav1.OwnerReference{controlledBy("AgentSet", "logs", victim.UID), controlledBy("AgentSet", "a/b", victim.UID), nil} {
			data := map[string][]byte{s.Node("a") + "." + tokensecret.SessionKey: []byte("x")}
			tenant.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: fmt.Sprintf("mine-%d", i),
				Labels: labels, OwnerReferences: owners}, Data: data})
			s.Guest(tenant, fmt.Sprintf("logs-%s", s.Node(fmt.Sprint("x", i))), func(a *v1alpha1.Agent) { a.Labels, a.OwnerReferences = labels, owners })
		}
		s.Guest(tenant, "logs-"+s.Node("a"), func(a *v1alpha1.Agent) {
			a.Labels = map[string]string{v1alpha1.LabelAgentSet: "logs"}
			adopts(s.victims[len(s.victims)-1])(a)
		})
		s.named = append(s.named, "logs-"+s.Node("a"))
		s.set(tenant, "logs", tenant.DaemonSet("logs"), func(set *v1alpha1.AgentSet) { set.Spec.Template.Metadata.Labels = map[string]string{"team": "guest"} })
		s.set(tenant, "mine", tenant.StatefulSet("web", 2), ofStatefulSet, func(set *v1alpha1.AgentSet) { set.Spec.Sessions.SecretName = "logs-sessions" })
	}
	s.guest.SetReady("mine", 2)
	s.stranger.SetBecomes("mine", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAgentsNotReady)
	s.Unharmed(s.victims)
	s.noLoot()
	s.SetReady("logs", 2)
	if after := s.Secret("logs-sessions-0"); !maps.EqualFunc(before.Data, after.Data, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Error("the victim's sessions changed")
	}
	for _, name := range []string{"mine-0", "mine-1", "mine-2"} {
		// The garbage collector deletes those whose owner is in another namespace.
		if secret := s.guest.Secret(name); secret != nil && string(secret.Data[s.Node("a")+"."+tokensecret.SessionKey]) != "x" {
			t.Errorf("Secret %s was written", name)
		}
	}
}

// Sets of StatefulSets without pods cost a tenant nothing. The victim's Agents and sets do not wait for theirs.
func TestAgentSet_OfVeryManyReplicas_DelaysNobody(t *testing.T) {
	for _, who := range []string{"guest", "stranger"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			tenant := map[string]*harness.World{"guest": s.guest, "stranger": s.stranger}[who]
			for i := range 10 {
				name := fmt.Sprint("many-", i)
				s.set(tenant, name, tenant.StatefulSet(name, 100), ofStatefulSet)
			}
			tenant.Eventually("the sets create Agents, or say why not", func() error {
				var set v1alpha1.AgentSet
				if err := tenant.Client.Get(t.Context(), tenant.Key("many-9"), &set); err != nil {
					return err
				}
				if len(set.Status.Conditions) == 0 {
					return errors.New("it has no conditions yet")
				}
				return nil
			})
			began := time.Now()
			s.Nodes("a", "b")
			s.AgentSet("logs", s.DaemonSet("logs"))
			s.SetReady("logs", 2)
			t.Logf("the victim's set took %s", time.Since(began))
			if took := time.Since(began); took > promptly {
				t.Errorf("the victim's set took %s", took)
			}
			staysPrompt(s)
			if who == "stranger" {
				if calls := s.callsOfTheProject(); calls > 60 {
					t.Errorf("%d calls with the project token", calls)
				}
			}
		})
	}
}

// A Secret in the place of the token names an owner that cannot exist.
func TestSecret_WithAnOwnerThatCannotExist_HoldsNothingUp(t *testing.T) {
	for name, owner := range map[string]string{"a slash": "a/b", "dots": "..", "a percent sign": "a%2fb"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{})
			for _, place := range []string{"web-token", "web-session"} {
				tenant.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: tenant.Namespace, Name: place,
					Labels:          map[string]string{v1alpha1.LabelAgentUID: "0b7e0000-0000-4000-8000-000000000001"},
					OwnerReferences: controlledBy("Agent", owner, "0b7e0000-0000-4000-8000-000000000001"),
				}})
			}
			w.Guest(tenant, "web", func(a *v1alpha1.Agent) { a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{} })
			tenant.Ready("web")
		})
	}
}
