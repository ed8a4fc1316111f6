/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// listed waits for a list of the project.
func listed(t *testing.T, p *Inventory) error {
	t.Helper()
	p.Warm()
	p.mu.Lock()
	r := p.running
	p.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-time.After(time.Minute):
		t.Fatal("the list does not end")
		return nil
	}
}

// Many agents with long texts, in many CloudProjects of one namespace, take a part of the memory. The lists of others are complete.
func TestLists_OfOneNamespace_LeaveMemoryToOthers(t *testing.T) {
	const total = 8 << 20
	memory := NewMemory(total)
	of := func(namespace string, service fat) *Inventory {
		p := reading(t, service, float64(rate.Inf))
		p.opts.Memory, p.opts.Namespace = memory, namespace
		return p
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []*Inventory
	complete := 0
	for range 12 {
		p := of("hostile", fat{pages: 500, machineID: "m", fleet: strings.Repeat("f", 3<<10)})
		all = append(all, p)
		if err := listed(t, p); err == nil {
			complete++
		} else if !strings.Contains(err.Error(), "the CloudProjects of namespace hostile take too much memory") {
			t.Errorf("error %v", err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if kept := int64(after.HeapAlloc) - int64(before.HeapAlloc); kept > total || complete == 0 {
		t.Errorf("%d lists take %d MiB", complete, kept>>20)
	}
	if err := listed(t, of("bystander", fat{pages: 500, machineID: "m"})); err != nil {
		t.Errorf("a bystander: %v", err)
	}
	for _, p := range all {
		p.Reset()
	}
	if err := listed(t, of("hostile", fat{pages: 500, machineID: "m", fleet: strings.Repeat("f", 3<<10)})); err != nil {
		t.Errorf("after the CloudProjects were deleted: %v", err)
	}
}

// An eighth of the memory is kept back. A namespace alone gets half of the rest, and each further one half of what is left.
func TestMemory_Namespaces_ShareIt(t *testing.T) {
	b := NewMemory(1 << 10)
	for i, want := range []int64{448, 224, 112} {
		namespace, got := fmt.Sprint("ns-", i), int64(0)
		for b.take(namespace, 1) == nil {
			got++
		}
		if got != want {
			t.Errorf("namespace %d got %d, want %d", i, got, want)
		}
		defer func() {
			b.give(namespace, got)
			if len(b.of) == 0 && b.held != 0 {
				t.Errorf("%d are left over", b.held)
			}
		}()
	}
}
