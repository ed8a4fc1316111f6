/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A DELETE that races with the write of the finalizer can remove an Agent in spite of it. These rows produce the
// result: the operator is about to register, or has just registered, and the Agent is deleted.
var deletions = []struct {
	name string
	at   request
	deed deed
	// ends if the Agent is not created again. Columns as in the crash tables.
	ends [len(servers)]cell
}{
	{"while it is registered", postRemote, deed{reach: true},
		[...]cell{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}}},
	{"while it is registered, and the call does not arrive", postRemote, deed{},
		[...]cell{{none, 0}, {none, 0}, {none, 0}, {none, 1}, {none, 1}, {none, 1}}},
	{"while it is registered, and the response is lost", postRemote, deed{reach: true, cut: true},
		[...]cell{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {left, 2}, {left, 2}}},
	{"while it is registered, and Calyptia Cloud registers it late", postRemote, deed{late: true},
		[...]cell{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {left, 2}, {left, 2}}},
	{"before its Secret is written", createSecret, deed{reach: true},
		[...]cell{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}}},
	{"before its status is written", patchStatus, deed{reach: true},
		[...]cell{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}}},
}

func TestAnAgentIsForceDeleted(t *testing.T) {
	t.Parallel()
	for _, row := range deletions {
		for i, server := range servers {
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				s := newScene(t, server.settings)
				s.forceDelete(row.at, row.deed, nothing)
				want := row.ends[i]
				remain := 0
				if want.end == left {
					remain = 1
				}
				s.Eventually("the end", func() error {
					if got := s.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); got != want.posts {
						return fmt.Errorf("%d registrations reached Calyptia Cloud, want %d: %s", got, want.posts, s.calls())
					}
					return errors.Join(s.remotes(remain), s.gone())
				})
				if remain == 0 {
					return
				}
				if events := strings.Join(s.Events("web", 1), " "); !strings.Contains(events, "rphaned") {
					t.Errorf("%d remote agents remain, and the events are %s", remain, events)
				}
			})
		}
	}
}

// The same, and an Agent of the same name is created at once.
func TestAnAgentIsForceDeletedAndRecreated(t *testing.T) {
	t.Parallel()
	for _, row := range deletions {
		for _, machineID := range []string{"", "machine-1"} {
			t.Run(fmt.Sprintf("%s/machine ID %q", row.name, machineID), func(t *testing.T) {
				chosen := func(a *v1alpha1.Agent) { a.Spec.MachineID = machineID }
				s := newScene(t, servers[1].settings)
				old := s.forceDelete(row.at, row.deed, func(s *scene) { s.Apply("web", chosen) }, chosen)
				s.Eventually("the end", s.one)
				if s.Get("web").UID == old {
					t.Error("the old Agent is still there")
				}
				s.syncAgain()
				if err := s.one(); err != nil {
					t.Errorf("after another sync: %v", err)
				}
			})
		}
	}
}

// forceDelete applies an Agent and deletes it without its finalizer when the request arrives that the deed is
// about.
func (s *scene) forceDelete(at request, how deed, then func(*scene), changes ...func(*v1alpha1.Agent)) types.UID {
	s.t.Helper()
	var gone types.UID
	failed := make(chan error, 1)
	how.meddle = func() {
		a, err := s.agent()
		if err == nil {
			gone = a.UID
			err = errors.Join(s.Client.Delete(s.t.Context(), a), s.edit(func(a *v1alpha1.Agent) { a.Finalizers = nil }))
		}
		if failed <- err; err == nil {
			then(s)
		}
	}
	before := len(s.Cloud.Requests())
	reached := s.expect(moment{at, how})
	s.Apply("web", changes...)
	s.await(reached)
	s.must(<-failed)
	switch {
	case how.late && s.listless:
		s.commitNow() // Nothing reads the agent before the next registration.
	case how.late:
		s.commitAfterASearch(before)
	}
	return gone
}
