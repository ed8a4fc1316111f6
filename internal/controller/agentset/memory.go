/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/kubecache"
)

const (
	// staleWait is the wait for a cache that is behind this process's own writes.
	staleWait = 50 * time.Millisecond
	// pendingTime is how long the cache may not show a write of this process: a created Agent that is missing for longer counts as deleted,
	// and an object that is older for longer went back, as with a restore of etcd.
	pendingTime = 30 * time.Second
)

// memories are the process-local caches of all sets. Losing them costs reads, never correctness.
type memories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*memory
}

// memory is the process-local cache of one set. Only the worker of the set uses it, except for took.
type memory struct {
	uid     types.UID
	writes  map[string]pendingWrite // Agents, by name, whose last write the cache may not show
	updates map[string]pendingWrite // the last update of Agents that were not found up to date since
	created map[string]time.Time    // Secrets, by name, created so recently that the cache may not show them
	shards  []shard                 // the Secrets with sessions, as they were read or written last
	former  map[string]shard        // Secrets, by name, that stay with a session that is still needed
	sources map[string]origin       // by slot, the input of each session
	free    time.Time               // the earliest time of the next batch of sessions
	stalled string                  // the last recorded message of Stalled
	status  statusWrites
	failed  failedPasses
	took    atomic.Int64 // the last pass without its requests, in nanoseconds
}

// failedPasses are how many passes in a row failed, and how many of them in a row with what is retried soon.
type failedPasses struct{ all, retried int }

// statusWrites are what is known of the last write of the status, and of the failed ones since.
type statusWrites struct {
	version string // resource version of the last one
	at      time.Time
	failed  int    // in a row
	logged  string // the failure that was logged last
}

type pendingWrite struct {
	version    string
	deleted    types.UID
	generation int64 // of the set that an update wrote; zero for other writes
	at         time.Time
}

func (m *memories) of(key types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*memory{}
	}
	if known := m.all[key]; known != nil && known.uid == uid {
		return known
	}
	m.all[key] = &memory{
		uid: uid, writes: map[string]pendingWrite{}, updates: map[string]pendingWrite{},
		created: map[string]time.Time{}, sources: map[string]origin{},
	}
	return m.all[key]
}

// ending is the cache of a set that is being deleted, which needs little.
func (m *memories) ending(key types.NamespacedName, uid types.UID) *memory {
	status := m.of(key, uid).status
	m.forget(key)
	known := m.of(key, uid)
	known.status.failed, known.status.logged = status.failed, status.logged
	return known
}

func (m *memories) forget(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, key)
}

// took is the duration of the last pass of a set, without its requests; zero if unknown.
func (m *memories) took(key types.NamespacedName) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[key]; known != nil {
		return time.Duration(known.took.Load())
	}
	return 0
}

// forgetSessions makes the next pass read all sessions again.
func (m *memory) forgetSessions() {
	m.shards, m.sources = nil, map[string]origin{}
}

// behind reports whether the cache shows an object as it was before a write of this process.
func behind(cached client.Object, written string, at, now time.Time) bool {
	return now.Sub(at) < pendingTime && kubecache.Behind(cached, written)
}

// pending reports whether the cache shows an Agent as it was before a write of this process.
func (m *memory) pending(agent *v1alpha1.Agent, now time.Time) bool {
	write, found := m.writes[agent.Name]
	if !found || write.deleted != "" {
		return false
	}
	if !kubecache.Behind(agent, write.version) {
		delete(m.writes, agent.Name)
	}
	return behind(agent, write.version, write.at, now)
}

// outdated records that a write failed because the Agent is newer than the cache shows, which is waited for again.
func (m *memory) outdated(agent string, now time.Time) {
	if write, found := m.writes[agent]; found {
		write.at = now
		m.writes[agent] = write
	}
}

// justUpdated reports whether nobody wrote the Agent since this process updated it to this generation of the set. Only for a while, because
// no event shows that a policy is corrected; longer with many Agents, so that about one in a second is tried again.
func (m *memory) justUpdated(agent *v1alpha1.Agent, generation int64, now time.Time) bool {
	update, found := m.updates[agent.Name]
	again := max(longestBackoff, time.Duration(len(m.updates))*time.Second)
	return found && update.version == agent.ResourceVersion && update.generation == generation && now.Sub(update.at) < again
}

// deleted reports whether this process deleted the Agent, which the cache does not show yet.
func (m *memory) deleted(agent *v1alpha1.Agent, now time.Time) bool {
	write := m.writes[agent.Name]
	return write.deleted != "" && write.deleted == agent.UID && now.Sub(write.at) < pendingTime
}

// unseen are the Agents that this process created and the cache does not show yet.
func (m *memory) unseen(seen map[string]*v1alpha1.Agent, now time.Time) map[string]bool {
	unseen := map[string]bool{}
	for name, write := range m.writes {
		switch {
		case seen[name] != nil:
		case write.deleted != "" || now.Sub(write.at) > pendingTime:
			delete(m.writes, name)
		default:
			unseen[name] = true
		}
	}
	return unseen
}

// wrote records that a Secret was created.
func (m *memory) wrote(name string, now time.Time) { m.created[name] = now }

// fresh reports whether a Secret was created so recently that the cache may not show it.
func (m *memory) fresh(name string, now time.Time) bool {
	at, found := m.created[name]
	if !found || now.Sub(at) > pendingTime {
		delete(m.created, name)
		return false
	}
	return true
}
