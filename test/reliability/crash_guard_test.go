/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// While the operator is down, somebody replaces the ID in the Secret that it had just written with that of another agent.
func TestACrashAndASecretThatNamesAnotherAgent(t *testing.T) {
	t.Parallel()
	forge := func(s *scene) {
		secret := s.World.Secret("web-token")
		secret.Data[v1alpha1.IDKey] = []byte(s.Remote()[0].ID)
		s.must(s.Client.Update(s.t.Context(), secret))
	}
	for _, row := range []struct {
		name      string
		meanwhile func(*scene)
		want      cell
	}{
		{"the Agent finds its own", forge, cell{one, 1}},
		{"the deletion deletes its own", func(s *scene) { forge(s); deleteAgent(s) }, cell{none, 1}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := newScene(t, cloudtest.Settings{})
			other := registeredExternally(s)
			s.strangers = 1
			s.Cloud.ResetRequests()
			s.die(apply, once(createSecret), before(patchStatus))
			row.meanwhile(s)
			s.revive(false)
			s.finish(row.want)
			if remote, found := s.Cloud.Agent(other); !found || remote.Version != "v3.0.0" || remote.RawConfig != "[INPUT]\n    name mem\n" {
				t.Errorf("somebody else's agent is %+v (there: %v)", remote, found)
			}
		})
	}
}

// While the operator is down, the Agent is force-deleted with its Secret and created again: nothing in the cluster
// names the remote agent any more.
func TestACrashAndARecreatedAgentFindsItselfInTheList(t *testing.T) {
	s := newScene(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	s.die(apply, once(createSecret), after(patchStatus))
	s.must(s.Client.Delete(t.Context(), s.World.Secret("web-token")))
	s.Delete("web")
	s.must(s.edit(func(a *v1alpha1.Agent) { a.Finalizers = nil }))
	s.Gone("web")
	apply(s)
	s.revive(false)
	s.finish(cell{one, 1})
}

// The cache has the intent and nothing newer: the operator relies on the API server, not on its cache.
func TestACacheThatLagsBehindTheStatus(t *testing.T) {
	slow := newLag(v1alpha1.AnnotationRegistrationIntent)
	s := newScene(t, strict, harness.Idle)
	s.lag = slow
	s.Start()
	s.ProjectBecomes(metav1.ConditionTrue, "")
	t.Cleanup(slow.end) // Before the World ends: its operator waits for the watch.
	reached := s.expect(moment{createSecret, deed{status: http.StatusInternalServerError, meddle: slow.begin}})
	apply(s)
	s.await(reached)
	s.Eventually("the end, while the cache lags", s.one)
	slow.end()
	s.finish(cell{one, 1})
}

// lag delays a watch once it has sent a given word.
type lag struct {
	mu     sync.Mutex
	cond   *sync.Cond
	word   []byte
	shown  bool
	held   bool
	recent []byte
}

func newLag(word string) *lag {
	l := &lag{word: []byte(word)}
	l.cond = sync.NewCond(&l.mu)
	return l
}

// begin waits until the watch has sent the word, and delays it from then on.
func (l *lag) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.shown {
		l.cond.Wait()
	}
	l.held = true
}

func (l *lag) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.cond.Broadcast()
}

func (l *lag) behind(body io.ReadCloser) io.ReadCloser {
	return struct {
		io.Reader
		io.Closer
	}{readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		l.mu.Lock()
		defer l.mu.Unlock()
		for l.held {
			l.cond.Wait()
		}
		l.recent = append(l.recent, p[:n]...)
		l.shown = l.shown || bytes.Contains(l.recent, l.word)
		l.cond.Broadcast()
		return n, err
	}), body}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
