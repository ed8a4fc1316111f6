/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// inert is an API server that rejects new Agents, and on which patches change nothing.
type inert struct {
	client.Client
	mu                        sync.Mutex
	created, patched, deleted int
}

func (s *inert) Create(_ context.Context, agent client.Object, _ ...client.CreateOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.created++
	return apierrors.NewForbidden(schema.GroupResource{Resource: "agents"}, agent.GetName(), fmt.Errorf("exceeded quota"))
}

func (s *inert) Patch(_ context.Context, agent client.Object, _ client.Patch, _ ...client.PatchOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patched++
	agent.SetResourceVersion("1")
	return nil
}

func (s *inert) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deleted++
	return nil
}

// many has more Agents than one pass writes, of which every one is to be updated.
func many(server client.Client) (writer, agentset.Decision) {
	w := writer{
		client: server, set: &v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Name: "logs", Generation: 1}},
		agents: map[string]*v1alpha1.Agent{}, memory: (&memories{}).of(client.ObjectKey{Name: "logs"}, "uid"),
		facts: agentset.Facts{Now: time.Unix(0, 0)},
	}
	var d agentset.Decision
	for i := range batch + 20 {
		key := fmt.Sprint("node-", i)
		name := agentset.AgentName("logs", key)
		d.Desired, d.Update = append(d.Desired, key), append(d.Update, name)
		w.agents[name] = &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}}
	}
	return w, d
}

func TestUpdatesWithoutEffectAreSentOnceAndDelayNoDeletion(t *testing.T) {
	server := &inert{}
	w, d := many(server)
	d.Delete = []string{"logs-gone"}
	w.agents["logs-gone"] = &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "logs-gone"}}
	if _, err := w.execute(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if server.patched != batch || server.deleted != 1 {
		t.Errorf("%d updates and %d deletions in one pass, want %d and 1", server.patched, server.deleted, batch)
	}
	agent, now := w.agents[d.Update[0]], w.facts.Now
	for _, row := range []struct {
		name       string
		version    string
		generation int64
		after      time.Duration
		want       bool
	}{
		{"nothing changed", "1", 1, longestBackoff, true},
		{"somebody wrote the Agent", "2", 1, 0, false},
		{"the template changed", "1", 2, 0, false},
		{"it is tried now and then, the more Agents the later", "1", 1, batch * time.Second, false},
	} {
		is := agent.DeepCopy()
		is.ResourceVersion = row.version
		if got := w.memory.justUpdated(is, row.generation, now.Add(row.after)); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}

func TestRejectedAgentsAreRetriedSlowlyAndDelayNoDeletion(t *testing.T) {
	server := &inert{}
	w, d := many(server)
	d.Create, d.Update, d.Delete = d.Desired, nil, []string{"logs-gone"}
	w.agents["logs-gone"] = &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "logs-gone"}}
	soon, err := w.execute(t.Context(), d)
	if err == nil || soon != 0 {
		t.Errorf("the next pass starts after %s, with the failure %v", soon, err)
	}
	if server.created > 2*writers || server.deleted != 1 {
		t.Errorf("%d creations and %d deletions", server.created, server.deleted)
	}
}
