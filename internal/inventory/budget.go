/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"math"
	"runtime/debug"
	"sync"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// withoutLimit is the Budget of a process without GOMEMLIMIT.
const withoutLimit = 1 << 30

// Budget bounds the memory of all snapshots of a process, those in progress included. Namespaces share it as they share workers:
// one may take as much as is free then.
type Budget struct {
	total int64

	mu   sync.Mutex
	held int64 // by all namespaces
	of   map[string]int64
}

// NewBudget returns a Budget of so many bytes; zero for half of GOMEMLIMIT.
func NewBudget(total int64) *Budget {
	if total == 0 {
		if total = debug.SetMemoryLimit(-1) / 2; total == math.MaxInt64/2 {
			total = withoutLimit
		}
	}
	return &Budget{total: total, of: map[string]int64{}}
}

// take fails if the namespace would hold more than is left for others.
func (b *Budget) take(namespace string, bytes int64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of[namespace]+bytes > b.total-b.held-bytes {
		return fault.Retryablef(v1alpha1.ReasonInvalidResponse, "the remote agents of the CloudProjects of namespace %s take too much memory: "+
			"delete agents or CloudProjects that are not needed, or give the operator more memory", namespace)
	}
	b.held += bytes
	b.of[namespace] += bytes
	return nil
}

func (b *Budget) give(namespace string, bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held -= bytes
	if b.of[namespace] -= bytes; b.of[namespace] == 0 {
		delete(b.of, namespace)
	}
}

// charge is what one list takes of a Budget.
type charge struct {
	budget    *Budget
	namespace string
	bytes     int64
}

func (c *charge) add(bytes int64) error {
	if err := c.budget.take(c.namespace, bytes); err != nil {
		return err
	}
	c.bytes += bytes
	return nil
}

// end returns what the list took.
func (c *charge) end() {
	if c == nil {
		return
	}
	c.budget.give(c.namespace, c.bytes)
	c.bytes = 0
}

const (
	// entryBytes and remoteBytes are what an Entry and its Remote take without texts, with their places in the maps.
	entryBytes  = 512
	remoteBytes = 512
)

// weigh returns the memory that entries take, roughly.
func weigh(entries []Entry) (bytes int64) {
	for _, e := range entries {
		bytes += int64(entryBytes + len(e.MachineID))
		if e.Remote != nil {
			bytes += int64(remoteBytes + textsOf(e.Remote))
		}
	}
	return bytes
}
