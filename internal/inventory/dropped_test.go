/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
)

// A tenant's server sends a list of small pages slowly, each in time, and the tenant creates and deletes Agents meanwhile: what is kept of
// the deletions counts, and ends the list if there is no memory.
func TestDrop_DuringALongList_IsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := reading(t, pages(200_000), 1.0/14)
		p.opts.Memory = NewMemory(4 << 20)
		p.Warm()
		elapse(time.Minute)
		taken := p.opts.Memory.held
		drop := func(from, to int) {
			for i := from; i < to; i++ {
				p.Drop(fmt.Sprintf("00000000-0000-4000-8000-%012d", i))
			}
		}
		drop(0, 1000)
		drop(0, 1000)
		if got := p.opts.Memory.held - taken; got != 1000*droppedBytes {
			t.Errorf("%d bytes are counted for 1,000 agents", got)
		}
		drop(1000, 1_000_000)
		synctest.Wait()
		if p.running != nil {
			t.Error("the list goes on")
		}
		if held := p.opts.Memory.held; held != 0 {
			t.Errorf("%d bytes are held", held)
		}
	})
}

// A team with some namespaces, whose own servers list as much as they are given memory for, leaves another team enough for a short list.
func TestLists_OfManyNamespaces_LeaveMemoryForAShortList(t *testing.T) {
	for _, namespaces := range []int{4, 14} {
		t.Run(fmt.Sprint(namespaces), func(t *testing.T) {
			memory := NewMemory(32 << 20)
			of := func(namespace string, service pages) *Inventory {
				p := reading(t, service, float64(rate.Inf))
				p.opts.Memory, p.opts.Namespace = memory, namespace
				return p
			}
			for n := range namespaces {
				for most := 16384; most > 0; most /= 2 { // The server tries how much it is.
					p := of(fmt.Sprint("hostile-", n), pages(most))
					if listed(t, p) == nil {
						defer p.Reset()
					}
				}
			}
			if err := listed(t, of("bystander", pages(50))); err != nil {
				t.Errorf("another team: %v", err)
			}
		})
	}
}
