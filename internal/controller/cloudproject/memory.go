/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// memos are the process-local caches of all CloudProjects. Losing them costs one credential check each.
type memos struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*memo
	// dropped is called for each CloudProject that is forgotten.
	dropped func(types.UID)
}

// memo is the process-local cache of one CloudProject. Only its worker uses it; needsCheck alone is set by others.
type memo struct {
	uid        types.UID
	needsCheck atomic.Bool
	released   bool // the finalizer was removed, which the cache may not show yet

	check      checked
	copying    copying
	agents     map[string]int       // that use the CloudProject, by namespace
	recorded   map[types.UID]string // their remote agents
	duplicates []string             // of their remote agents
	interval   time.Duration        // effective resync interval
	wrote      wrote
	unfenced   unfenced
	rejected   rejected
}

// wrote is the version of the CloudProject that this process wrote last, and when it wrote the status.
type wrote struct {
	version string
	at      time.Time
}

// unfenced is why the finalizer is not stored, nil if it is, and how often in a row it was not.
type unfenced struct {
	failure *fault.Error
	times   int
}

// checked is the last credential check.
type checked struct {
	tried     attempt      // what was checked; zero if nothing was
	verdict   *fault.Error // its outcome; nil is good
	next      time.Time    // when to try again
	failures  int          // consecutive, retryable or rejections
	lastReset string       // the last request to reconcile that reset the safeguard
	handled   string       // the last request to reconcile that got a response of the API
}

// again makes the next usable state checked as if it were the first.
func (c *checked) again() {
	c.tried, c.verdict, c.next, c.failures = attempt{}, nil, time.Time{}, 0
}

// copying is what is known of the copy of the credentials.
type copying struct {
	failure *fault.Error // why there is no copy; nil when there is
	// If it was not stored as it was written: with what it was tried, how often, and when to try again.
	tried attempt
	times int
	next  time.Time
}

// rejected are the consecutive rejections by the API server.
type rejected struct {
	times  int
	logged string // the last one
}

// counted returns the number of Agents that use the CloudProject.
func (m *memo) counted() (all int) {
	for _, n := range m.agents {
		all += n
	}
	return all
}

// attempt is the input of a credential check. reconcileAt is part of it so that a user can request one.
type attempt struct {
	version     int
	generation  int64
	reconcileAt string
}

func attemptOf(p *connection.Connection, cp *v1alpha1.CloudProject) attempt {
	return attempt{version: p.Version(), generation: cp.Generation, reconcileAt: cp.Annotations[v1alpha1.AnnotationReconcileAt]}
}

// of returns the memo of a CloudProject. That of an earlier CloudProject with the same name is dropped.
func (m *memos) of(cp *v1alpha1.CloudProject) *memo {
	key := client.ObjectKeyFromObject(cp)
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.all[key]
	if known != nil && known.uid == cp.UID {
		return known
	}
	if known != nil {
		m.dropped(known.uid)
	}
	if m.all == nil {
		m.all = map[types.NamespacedName]*memo{}
	}
	m.all[key] = &memo{uid: cp.UID}
	return m.all[key]
}

// release drops what is known of a CloudProject except that it was released.
func (m *memos) release(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[key]; known != nil {
		m.all[key] = &memo{uid: known.uid, released: true}
		m.dropped(known.uid)
	}
}

func (m *memos) forget(key types.NamespacedName) {
	m.mu.Lock()
	known := m.all[key]
	delete(m.all, key)
	m.mu.Unlock()
	if known != nil {
		m.dropped(known.uid)
	}
}

// needCheck records that the credentials of a CloudProject have to be checked.
func (m *memos) needCheck(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.all[key]; known != nil {
		known.needsCheck.Store(true)
	}
}
