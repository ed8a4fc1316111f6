/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
)

// lagging is an API server with one Agent, whose version the cache does not show yet.
type lagging struct {
	client.Client
	cached  *v1alpha1.Agent
	version string
	deleted bool
}

func (s *lagging) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AgentList).Items = []v1alpha1.Agent{*s.cached}
	return nil
}

func (s *lagging) Delete(_ context.Context, o client.Object, opts ...client.DeleteOption) error {
	wants := (&client.DeleteOptions{}).ApplyOptions(opts).Preconditions
	if wants != nil && wants.ResourceVersion != nil && *wants.ResourceVersion != s.version {
		return apierrors.NewConflict(schema.GroupResource{Resource: "agents"}, o.GetName(), nil)
	}
	s.deleted = true
	return nil
}

// A replica came back, so that its Agent's mark was removed, and is gone again for seconds. The cache shows the mark for longer than it is
// expected to, because it lags, or because the pass that removed the mark took long. The Agent is deleted only if it is stored so.
func TestRemove_ByAnOldMark_DeletesOnlyWhatIsStoredSo(t *testing.T) {
	for name, row := range map[string]struct {
		stored string
		want   bool
	}{"the mark was removed": {"200", false}, "the mark is stored again, as after a restore": {"100", true}} {
		t.Run(name, func(t *testing.T) {
			start := time.Unix(100_000, 0).UTC()
			set := &v1alpha1.AgentSet{}
			set.Namespace, set.Name, set.UID = "default", "logs", "set"
			agent, _ := agentset.Build(set, "db-2", nil)
			agent.UID, agent.ResourceVersion = "agent", "100"
			agent.Annotations = map[string]string{v1alpha1.AnnotationRemovalStarted: start.Format(time.RFC3339)}
			server := &lagging{cached: agent, version: row.stored}
			known := (&memories{}).of(client.ObjectKeyFromObject(set), set.UID)
			known.writes[agent.Name] = pendingWrite{version: "200", at: start.Add(10 * time.Minute)}
			facts := agentset.Facts{Set: set.Name, RemovalDelay: removalDelay(set), Now: start.Add(10*time.Minute + pendingTime)}
			agents, err := observer{server, nil, set, known}.agents(t.Context(), &facts)
			if err != nil {
				t.Fatal(err)
			}
			retry, err := writer{server, server, set, agents, known, facts}.execute(t.Context(), agentset.Decide(facts))
			if err != nil || server.deleted != row.want || !row.want && retry == 0 {
				t.Errorf("deleted: %v, retry after %s, error %v", server.deleted, retry, err)
			}
		})
	}
}

// While the cache lags, a change that conflicts is tried once in a while, not with each pass.
func TestPending_AConflict_IsWaitedForAgain(t *testing.T) {
	now := time.Unix(100_000, 0)
	agent := &v1alpha1.Agent{}
	agent.Name, agent.ResourceVersion = "logs-a", "100"
	known := &memory{writes: map[string]pendingWrite{"logs-a": {version: "200", at: now}}}
	tries := 0
	for second := range 300 {
		at := now.Add(time.Duration(second) * time.Second)
		if !known.pending(agent, at) {
			tries++
			known.outdated(agent.Name, at)
		}
	}
	if tries == 0 || tries > 10 {
		t.Errorf("it is tried %d times in five minutes", tries)
	}
	agent.ResourceVersion = "200"
	if known.pending(agent, now) || len(known.writes) != 0 {
		t.Errorf("what is shown is still waited for: %v", known.writes)
	}
}
