/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Two Agents want one machine ID at the same time: one gets it, the other names the owner, and deleting the latter
// takes nothing from the former.
func TestTwoAgentsWantOneMachineID(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, server.settings, harness.Idle)
			w.Apply("a", machine("machine-1"))
			w.Apply("b", machine("machine-1"))
			w.Start()
			winner, loser := oneOf(w, v1alpha1.ReasonMachineIDConflict)
			w.One(winner)
			if s := w.Secret(loser + "-token"); s != nil {
				t.Errorf("the loser has a Secret with the id %s", s.Data[v1alpha1.IDKey])
			}
			w.Delete(loser)
			w.Gone(loser)
			w.One(winner)
		})
	}
}

// oneOf waits until exactly one of the Agents a and b is Ready, and the other Stalled for a reason.
func oneOf(w *harness.World, reason string) (winner, loser string) {
	w.Helper()
	winner, loser = "a", "b"
	if w.ReadyOrStalled("a").Status.ID == "" {
		winner, loser = "b", "a"
	}
	w.Ready(winner)
	w.Stalled(loser, reason, w.Namespace+"/"+winner)
	return winner, loser
}

func TestTwoAgentsWantOneAgentID(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	made := w.Register("legacy", "machine-1")
	take := func(a *v1alpha1.Agent) { adopting(made.ID)(a); a.Spec.DeletionPolicy = v1alpha1.DeletionDelete }
	w.Apply("a", take)
	w.Apply("b", take)
	w.Start()
	winner, loser := oneOf(w, v1alpha1.ReasonRemoteAlreadyManaged)
	w.Delete(loser)
	w.Gone(loser)
	w.One(winner)
	w.Delete(winner)
	w.Gone(winner)
	remains(w)
}

// A rename in Git deletes the old Agent and creates the new one at the same time.
func TestARenamedAgent(t *testing.T) {
	rows := []struct {
		name   string
		change func(id string) func(*v1alpha1.Agent)
		same   bool // the remote agent is kept
	}{
		{"with a derived machine ID is another agent", func(string) func(*v1alpha1.Agent) { return func(*v1alpha1.Agent) {} }, false},
		{"with its own machine ID is registered once the old one is deleted", func(string) func(*v1alpha1.Agent) { return machine("machine-1") }, false},
		{"with an agentID keeps its agent", adopting, true},
	}
	for _, row := range rows {
		for _, server := range services {
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				t.Parallel()
				w := harness.New(t, server.settings)
				legacy := ""
				if row.same {
					legacy = w.Register("legacy", "machine-1").ID
				}
				w.Ready(w.Apply("old", row.change(legacy)))
				w.Delete("old")
				w.Apply("new", row.change(legacy))
				w.Gone("old")
				a := w.Ready("new")
				w.One("new")
				if row.same && a.Status.ID != legacy {
					t.Errorf("the agent became %s, want %s", a.Status.ID, legacy)
				}
			})
		}
	}
}

// A restore from a backup: Agents without their status, with or without their Secrets.
func TestRestoredFromABackup(t *testing.T) {
	for _, server := range services {
		for _, secret := range []bool{true, false} {
			for _, records := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/the Secret is %v/the intent and finalizer are %v", server.name, secret, records), func(t *testing.T) {
					t.Parallel()
					w := harness.New(t, server.settings)
					saved := w.Ready(w.Apply("web"))
					s := w.Secret("web-token")
					before := w.Remote()
					w.Stop()
					deleteWithoutOperator(w, "web")
					remove(w, s)
					untilDeleted(w, s.DeepCopy())
					restored := w.NewAgent("web")
					if records {
						restored.Annotations, restored.Finalizers = saved.Annotations, saved.Finalizers
					}
					w.Create(restored)
					if secret { // Its owner is deleted, so a backup that keeps the reference loses the Secret.
						s.OwnerReferences, s.ResourceVersion, s.UID = nil, "", types.UID("")
						w.Create(s)
					}
					w.Start()
					a := w.Ready("web")
					remote, _ := w.Cloud.Agent(a.Status.ID)
					w.HoldsToken("web", remote)
					if blind := server.settings.NoList && !secret && server.settings.UniqueMachineIDs == cloudtest.MachineIDDouble; blind {
						return // It cannot be found: the only documented duplicate.
					}
					w.One("web")
					remains(w, before[0].ID)
				})
			}
		}
	}
}

// A cluster is rebuilt from Git with the same cluster ID: every Agent finds its remote agent again.
func TestAClusterRebuiltWithTheSameID(t *testing.T) {
	for _, server := range services[:3] {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, server.settings)
			ids := map[string]string{}
			for i := range 5 {
				name := fmt.Sprintf("web-%d", i)
				ids[name] = w.Ready(w.Apply(name)).Status.ID
			}
			all := remoteIDs(w)
			w.Stop()
			for name := range ids {
				deleteWithoutOperator(w, name)
				forget(w, name+"-token")
				w.Apply(name)
			}
			w.Start()
			for name, id := range ids {
				a := w.Ready(name)
				if a.Status.ID != id || a.Status.Origin != v1alpha1.OriginRegistered {
					t.Errorf("%s became %s, origin %s, want %s", name, a.Status.ID, a.Status.Origin, id)
				}
				remote, _ := w.Cloud.Agent(id)
				w.HoldsToken(name, remote)
			}
			remains(w, all...)
		})
	}
}

// The same manifests in two clusters that share a project: each cluster registers and deletes only its own agents.
func TestTheSameManifestsInTwoClusters(t *testing.T) {
	for _, server := range services {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, server.settings)
			first := w.Ready(w.Apply("web")).Status.ID
			w.Stop()
			deleteWithoutOperator(w, "web") // From here on, this is another cluster.
			forget(w, "web-token")
			w.Settings.ClusterID = "another-cluster"
			w.Apply("web")
			w.Start()
			second := w.Ready("web").Status.ID
			if first == second {
				t.Fatal("the second cluster adopted the agent of the first")
			}
			remains(w, first, second)
			w.Delete("web")
			w.Gone("web")
			remains(w, first)
		})
	}
}
