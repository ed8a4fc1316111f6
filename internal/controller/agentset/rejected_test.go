/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

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
	written map[string]int // by the kind of the write, and by the name of the Agent
	failed  int
	version string // of all Agents; that of the cache if empty
}

func (s *failing) Get(_ context.Context, _ client.ObjectKey, agent client.Object, _ ...client.GetOption) error {
	agent.SetResourceVersion(cmp.Or(s.version, "1"))
	return nil
}

// errNotStored has the server respond as if it had stored a mark.
var errNotStored = errors.New("the mark is not stored")

func (s *failing) fail(kind, name string) error { return cmp.Or(s.fails[kind], s.fails[name]) }

func (s *failing) write(kind, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail(kind, name); err != nil {
		s.failed++
		return err
	}
	s.written[kind]++
	s.written[name]++
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
	var operations []operation
	if err := json.Unmarshal(data, &operations); err != nil {
		return err
	}
	for _, o := range operations { // The Agents have no annotations.
		if marked, ok := o.Value.(map[string]any); ok && marked[v1alpha1.AnnotationRemovalStarted] != nil {
			if err := s.write("mark", agent.GetName()); errors.Is(err, errNotStored) {
				return nil
			} else if err != nil {
				return err
			}
			agent.SetAnnotations(map[string]string{v1alpha1.AnnotationRemovalStarted: fmt.Sprint(marked[v1alpha1.AnnotationRemovalStarted])})
			return nil
		}
	}
	return s.write("update", agent.GetName())
}

// everyKind has so many Agents to delete, to mark, to create and to update.
func everyKind(server client.Client, count int) (writer, agentset.Decision) {
	w := writer{
		client: server, apiReader: server, set: &v1alpha1.AgentSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Generation: 1}},
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
	unexplained := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusBadRequest, Message: "denied"}}
	refused := errors.New("connection refused")
	invalid := invalidPatch()
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
		{"a webhook rejects deletions without a reason", map[string]error{"delete": unexplained}, fault.Terminal, 2 * writers},
		{"a webhook rejects updates without a cause", map[string]error{"update": invalid}, fault.Terminal, 2 * writers},
		{"a webhook rejects marks without a cause", map[string]error{"mark": invalid}, fault.Terminal, 2 * writers},
		{"a policy removes annotations", map[string]error{"mark": errNotStored}, fault.Terminal, 2 * writers},
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

// invalidPatch is the response to a JSON patch whose test fails, or that a webhook rejects without a cause.
func invalidPatch() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: "denied",
	}}
}

// Agents that changed since the cache saw them are no rejection: each is written once the cache shows the change.
func TestAFailedTestOfAPatchIsNoRejection(t *testing.T) {
	const count = 50
	server := &failing{fails: map[string]error{"update": invalidPatch()}, written: map[string]int{}, version: "2"}
	w, d := everyKind(server, count)
	soon, err := w.execute(t.Context(), d)
	if err != nil || soon != time.Second {
		t.Errorf("the next pass starts after %s, with the failure %v", soon, err)
	}
	if server.failed != count {
		t.Errorf("%d updates were sent, want %d", server.failed, count)
	}
}

// Agents that sort first and are rejected in each pass do not keep those after them from ever being written.
func TestThePassAfterAFailedOneBeginsWithOthers(t *testing.T) {
	const count, rejected = 50, 3 * writers
	server := &failing{fails: map[string]error{}, written: map[string]int{}}
	for i := range rejected {
		server.fails[fmt.Sprint("db-update-", i)] = apierrors.NewForbidden(schema.GroupResource{Resource: "agents"}, "x", errors.New("not allowed"))
	}
	w, d := everyKind(server, count)
	for range 2 * rejected / mostRejected {
		_, err := w.execute(t.Context(), d)
		if err == nil {
			t.Fatal("nothing is rejected")
		}
		finisher{memory: w.memory}.retryAfter(classify(err))
	}
	for i := rejected; i < count; i++ {
		if name := fmt.Sprint("db-update-", i); server.written[name] == 0 {
			t.Errorf("%s was never written", name)
		}
	}
}
