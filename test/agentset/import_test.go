/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/importer"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// importForSet runs the command import for an AgentSet, and applies what it prints.
func importForSet(w *harness.World, t *testing.T, set string) {
	w.Helper()
	t.Setenv(importer.TokenVariable, w.Token.Reveal())
	command := importer.NewCommand(func(err error) error { return err }, importer.Naming{Agent: agentset.AgentName, Slot: agentset.Slot})
	var manifests, messages bytes.Buffer
	command.SetOut(&manifests)
	command.SetErr(&messages)
	command.SetArgs([]string{"--url", w.HTTP.URL, "--allow-insecure-http", "--project-ref", "calyptia", "--agent-set", set})
	if err := command.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%v: %s", err, messages.String())
	}
	apply := harness.Plane().Kubectl(t.Context(), "apply", "--server-side", "-n", w.Namespace, "-f", "-")
	apply.Stdin = &manifests
	if out, err := apply.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// Fluent Bits that registered themselves have agents already, some of them several. Imported and adopted, each node keeps
// its agent: nothing is registered, and nothing is deleted.
func TestImportedAgentsAreAdopted(t *testing.T) {
	w := harness.New(t, cloudtest.Settings{PageSize: 3})
	long := strings.Repeat("x", 40)
	w.Nodes("a", "b", long)
	oldest := map[string]string{}
	for _, node := range []string{"a", "b", long, "removed"} {
		oldest[node] = w.Register(w.Node(node), "machine-of-"+node).ID
	}
	for _, machine := range []string{"second", "third"} {
		w.Register(w.Node("b"), machine)
	}
	w.Register("web", "another-machine")
	before := len(w.Remote())
	importForSet(w, t, "logs")
	removed := w.Ready(agentset.AgentName("logs", w.Node("removed")))
	w.Cloud.ResetRequests()

	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 3)
	ids, _ := w.StoredSessions(w.GetSet("logs"))
	if len(ids) != 3 {
		t.Errorf("sessions of %v", ids)
	}
	for _, node := range []string{"a", "b", long} {
		agent := w.AgentsOf("logs")[agentset.Slot(w.Node(node))]
		if agent.Status.ID != oldest[node] || ids[agentset.Slot(w.Node(node))] != oldest[node] || agent.Spec.SyncPolicy == v1alpha1.SyncObserve {
			t.Errorf("%s: the Agent has %s, the session is of %s, want %s; syncPolicy %s", node, agent.Status.ID,
				ids[agentset.Slot(w.Node(node))], oldest[node], agent.Spec.SyncPolicy)
		}
	}
	w.Restart()
	w.SetReady("logs", 3)
	posts, deletes := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents), w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent)
	if remote := w.Remote(); posts+deletes > 0 || len(remote) != before {
		t.Errorf("%d registrations, %d deletions, and %d agents of %d", posts, deletes, len(remote), before)
	}
	if is := w.Get(removed.Name); is.Generation != removed.Generation || len(is.OwnerReferences) > 0 {
		t.Errorf("the Agent of a node that does not exist was changed: %+v", is)
	}
}
