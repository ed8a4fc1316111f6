/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// failing is an API server that fails some writes of Agents.
type failing struct {
	client.Client
	fails   map[string]error // by the kind of the write, or the name of the Agent
	mu      sync.Mutex
	written map[string]int // by kind
	failed  int
}

func (s *failing) fail(kind, name string) error { return cmp.Or(s.fails[kind], s.fails[name]) }

func (s *failing) write(kind, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail(kind, name); err != nil {
		s.failed++
		return err
	}
	s.written[kind]++
	return nil
}

func (s *failing) Create(_ context.Context, agent client.Object, _ ...client.CreateOption) error {
	return s.write("create", agent.GetName())
}

func (s *failing) Delete(_ context.Context, agent client.Object, _ ...client.DeleteOption) error {
	return s.write("delete", agent.GetName())
}

func (s *failing) Patch(_ context.Context, agent client.Object, patch client.Patch, _ ...client.PatchOption) error {
	data, err := patch.Data(agent)
	if err != nil {
		return err
	}
	if bytes.Contains(data, []byte("removal-started")) {
		return s.write("mark", agent.GetName())
	}
	return s.write("update", agent.GetName())
}

// everyKind has so many Agents to delete, to mark, to create and to update.
func everyKind(server client.Client, count int) (writer, agentset.Decision) {
	w := writer{
		client: server, set: &v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Generation: 1}},
		agents: map[string]*v1alpha1.Agent{}, memory: (&memories{}).of(client.ObjectKey{Name: "db"}, "uid"),
	}
	agent := func(key string) string {
		name := agentset.AgentName("db", key)
		w.agents[name] = &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}}
		return name
	}
	var d agentset.Decision
	for i := range count {
		created, updated := fmt.Sprint("create-", i), fmt.Sprint("update-", i)
		d.Desired = append(d.Desired, created, updated)
		d.Create, d.Update = append(d.Create, created), append(d.Update, agent(updated))
		d.Mark, d.Delete = append(d.Mark, agent(fmt.Sprint("mark-", i))), append(d.Delete, agent(fmt.Sprint("delete-", i)))
	}
	return w, d
}

func TestAFailedWriteDelaysOnlyThoseThatWouldFailToo(t *testing.T) {
	const count = 50
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "agents"}, "x", errors.New("not allowed here"))
	webhook := apierrors.NewInternalError(errors.New("failed calling webhook"))
	refused := errors.New("connection refused")
	for _, row := range []struct {
		name  string
		fails map[string]error
		class fault.Class
		most  int // failed writes
	}{
		{"a quota rejects new Agents", map[string]error{"create": forbidden}, fault.Terminal, 2 * writers},
		{"a policy rejects the template", map[string]error{"update": forbidden}, fault.Terminal, 2 * writers},
		{"a policy rejects annotations", map[string]error{"mark": forbidden}, fault.Terminal, 2 * writers},
		{"a policy rejects deletions", map[string]error{"delete": forbidden}, fault.Terminal, 2 * writers},
		{"a policy protects one Agent", map[string]error{"db-delete-0": forbidden}, fault.Terminal, 1},
		{"a webhook for new Agents does not respond", map[string]error{"create": webhook}, fault.Retryable, writers},
		{"a webhook for deletions does not respond", map[string]error{"delete": webhook}, fault.Retryable, writers},
		{"a quota, and a webhook", map[string]error{"create": forbidden, "delete": webhook}, fault.Retryable, 3 * writers},
		{"the API server cannot be reached", map[string]error{"delete": refused, "mark": refused, "create": refused, "update": refused},
			fault.Retryable, writers},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := &failing{fails: row.fails, written: map[string]int{}}
			w, d := everyKind(server, count)
			_, err := w.execute(t.Context(), d)
			if failure := classify(err); failure == nil || failure.Class != row.class {
				t.Errorf("the failure is %v, want a %s one", err, row.class)
			}
			if server.failed > row.most {
				t.Errorf("%d failed writes, want %d at most", server.failed, row.most)
			}
			for _, kind := range []string{"delete", "mark", "create", "update"} {
				want := 0
				for i := range count {
					if server.fail(kind, fmt.Sprintf("db-%s-%d", kind, i)) == nil {
						want++
					}
				}
				if got := server.written[kind]; got != want {
					t.Errorf("%s: %d written, want %d", kind, got, want)
				}
			}
		})
	}
}
