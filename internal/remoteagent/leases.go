/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// lease is on a remote agent or a machine ID at an endpoint: a digest, because each Agent has some.
type lease [sha256.Size / 2]byte

func leaseOn(at connection.Endpoint, kind, id string) lease {
	sum := sha256.Sum256([]byte(strings.Join([]string{at.URL, at.ProjectID, kind, id}, "\n")))
	return lease(sum[:len(lease{})])
}

// leases ensure that only one Agent gets a remote agent or machine ID when two are reconciled at the same time, which the
// cache would show too late. An Agent loses its few leases when it is forgotten. After a restart the recorded status of
// the other Agent counts, and its open intent, once the cache has it.
type leases struct {
	mu     sync.Mutex
	owners map[lease]types.NamespacedName
	owned  map[types.NamespacedName][]lease
	since  time.Time // the first reconciliation: a process may wait long until it leads
}

// mostLeases bounds the leases of one Agent: whoever changes its CloudProject chooses the endpoints. The longest unused is dropped.
const mostLeases = 24

// take returns the owner of a lease, which is the Agent of the key unless another one has it.
func (l *leases) take(what lease, key types.NamespacedName) (owner types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if owner, taken := l.owners[what]; taken && owner != key {
		return owner
	}
	l.put(what, key)
	return key
}

// kept returns since when leases are kept, which is now at the first call.
func (l *leases) kept(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.since = now
	}
	return l.since
}

// holds reports whether an Agent has leases.
func (l *leases) holds(all []lease, key types.NamespacedName) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !slices.ContainsFunc(all, func(what lease) bool { return l.owners[what] != key })
}

// seize takes a lease from whoever has it, for the owner by right.
func (l *leases) seize(what lease, key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(what, key)
}

// put is called with the lock held.
func (l *leases) put(what lease, key types.NamespacedName) {
	if l.owners == nil {
		l.owners, l.owned = map[lease]types.NamespacedName{}, map[types.NamespacedName][]lease{}
	}
	owned := slices.DeleteFunc(l.owned[key], func(other lease) bool { return other == what })
	if len(owned) == mostLeases {
		if l.owners[owned[0]] == key {
			delete(l.owners, owned[0])
		}
		owned = slices.Delete(owned, 0, 1)
	}
	l.owners[what], l.owned[key] = key, append(owned, what)
}

// drop gives up the leases of an Agent that is forgotten.
func (l *leases) drop(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range l.owned[key] {
		if l.owners[what] == key {
			delete(l.owners, what)
		}
	}
	delete(l.owned, key)
}
