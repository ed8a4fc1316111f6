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

// withoutLimit is the Memory of a process without GOMEMLIMIT.
const withoutLimit = 1 << 30

// Memory bounds the memory of all that a process keeps of lists, those in progress included. Namespaces share it as they share
// workers: one may take as much as is free then.
type Memory struct {
	total int64

	mu   sync.Mutex
	held int64 // by all namespaces
	of   map[string]int64
}

// NewMemory returns a Memory of so many bytes; zero for half of GOMEMLIMIT.
func NewMemory(total int64) *Memory {
	if total == 0 {
		if total = debug.SetMemoryLimit(-1) / 2; total == math.MaxInt64/2 {
			total = withoutLimit
		}
	}
	return &Memory{total: total, of: map[string]int64{}}
}

// take fails if the namespace would hold more than is left for others. An eighth is kept for those that hold little: each further namespace
// halves the rest.
func (m *Memory) take(namespace string, bytes int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	wants, kept := m.of[namespace]+bytes, m.total/keptBack
	little := wants <= min(littleMemory, kept/keptBack) && m.held+bytes <= m.total
	if !little && wants > m.total-kept-m.held-bytes {
		return fault.Retryablef(v1alpha1.ReasonListTooLarge, "the remote agents of the CloudProjects of namespace %s take too much memory: "+
			"delete agents or CloudProjects that are not needed, or give the operator more memory", namespace)
	}
	m.held += bytes
	m.of[namespace] += bytes
	return nil
}

func (m *Memory) give(namespace string, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held -= bytes
	if m.of[namespace] -= bytes; m.of[namespace] == 0 {
		delete(m.of, namespace)
	}
}

// Charge is what one list takes of a Memory. Nil takes nothing.
type Charge struct {
	memory    *Memory
	namespace string

	mu    sync.Mutex
	bytes int64
	ended bool
}

// Charge returns a Charge of a namespace, without any bytes.
func (m *Memory) Charge(namespace string) *Charge { return &Charge{memory: m, namespace: namespace} }

// Add takes more bytes, or returns some if they are negative. It fails if that is more than is left for the namespace.
func (c *Charge) Add(bytes int64) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return nil // The list is about to be dropped.
	}
	if bytes > 0 {
		if err := c.memory.take(c.namespace, bytes); err != nil {
			return err
		}
	} else {
		c.memory.give(c.namespace, -bytes)
	}
	c.bytes += bytes
	return nil
}

// settle returns all but so many bytes.
func (c *Charge) settle(bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.give(c.namespace, c.bytes-bytes)
	c.bytes = bytes
}

// End returns what the list took, and what it would still take.
func (c *Charge) End() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.give(c.namespace, c.bytes)
	c.bytes, c.ended = 0, true
}

const (
	// keptBack is the part of a Memory for namespaces that hold littleMemory at most: that of some 800 agents.
	keptBack     = 8
	littleMemory = 1 << 20
	// entryBytes and remoteBytes are what an Entry and its Remote take without texts, with their places in the maps.
	entryBytes  = 512
	remoteBytes = 512
	// droppedBytes is what the ID of an agent takes that was deleted during a list.
	droppedBytes = 128
)

// weigh returns the memory that an entry takes, roughly.
func weigh(e *Entry) int64 {
	bytes := entryBytes + len(e.MachineID)
	if e.Remote != nil {
		bytes += remoteBytes + e.Remote.Words()
	}
	return int64(bytes)
}
