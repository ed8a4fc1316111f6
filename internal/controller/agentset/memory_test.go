/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
)

// showing is a cache in which every object has this version.
type showing struct {
	client.Client
	version string
}

func (s showing) Get(_ context.Context, _ client.ObjectKey, object client.Object, _ ...client.GetOption) error {
	object.SetResourceVersion(s.version)
	return nil
}

// A cache that is behind a write soon shows it. If it does not, as after a restore of etcd to lower versions, what is stored counts: else
// the set would wait for ever.
func TestAnOlderObjectCountsAfterAWhile(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	restored := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "logs-a", UID: "a", ResourceVersion: "5"}}
	deleted := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Name: "logs-b", UID: "b", ResourceVersion: "5"}}
	known := &memory{writes: map[string]pendingWrite{
		"logs-a": {version: "9", at: clock.Now()}, "logs-b": {deleted: "b", at: clock.Now()},
	}}
	store := shardStore{client: showing{version: "5"}, clock: clock, set: &v1alpha1.AgentSet{}, memory: known}
	written := &shard{name: "logs-sessions", version: "9", at: clock.Now(), verdict: tokensecret.Ours}
	waits := func() map[string]bool {
		return map[string]bool{
			"set": behind(restored, "9", time.Unix(1000, 0), clock.Now()), "agent": known.pending(restored, clock.Now()),
			"deletion": known.deleted(deleted, clock.Now()), "secret": store.unchanged(t.Context(), written),
		}
	}
	clock.Step(pendingTime - 1)
	for what, waiting := range waits() {
		if !waiting {
			t.Errorf("%s: the cache counts while it is behind", what)
		}
	}
	clock.Step(1)
	for what, waiting := range waits() {
		if waiting {
			t.Errorf("%s: what is stored does not count", what)
		}
	}
}

// A set older than the validation of the name says what to correct; the store has no client.
func TestShards_ANameThatNoSecretCanHave_IsNotRead(t *testing.T) {
	for _, name := range []string{"a/b", "..", "a%2fb", "My_Token"} {
		_, err := shardStore{set: &v1alpha1.AgentSet{}}.one(t.Context(), name)
		if f, ok := fault.As(err); !ok || f.Class != fault.Terminal || f.Reason != v1alpha1.ReasonInvalid {
			t.Errorf("%q: %v", name, err)
		}
	}
}
