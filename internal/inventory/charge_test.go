/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// charged is the memory that is taken, and kept that of the entries of the snapshot.
func charged(p *Inventory) (taken, kept int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opts.Memory.held, p.snapshot.weight()
}

const listedID, addedID = "00000000-0000-4000-8000-000000000002", "00000000-0000-4000-9000-000000000001" // the first is of the third page

// What is registered again is charged once, and what is dropped is returned once, also while a list runs, and while it waits to begin.
func TestCharge_IsOfWhatTheSnapshotKeeps(t *testing.T) {
	repeat := func(change func(p *Inventory)) func(p *Inventory) {
		return func(p *Inventory) {
			for range 3 {
				change(p)
			}
		}
	}
	for _, row := range []struct {
		name   string
		change func(p *Inventory)
	}{
		{"registered", func(p *Inventory) { p.Add(Entry{ID: addedID, MachineID: "new"}) }},
		{"registered again", repeat(func(p *Inventory) { p.Add(Entry{ID: addedID, MachineID: "new"}) })},
		{"what is listed", repeat(func(p *Inventory) { p.Add(Entry{ID: listedID, MachineID: "2"}) })},
		{"what is listed, with another machine ID", repeat(func(p *Inventory) { p.Add(Entry{ID: listedID, MachineID: strings.Repeat("m", 100)}) })},
		{"dropped", repeat(func(p *Inventory) { p.Drop(listedID) })},
		{"registered and dropped", repeat(func(p *Inventory) {
			p.Add(Entry{ID: addedID, MachineID: "new"})
			p.Drop(addedID)
		})},
		{"dropped and registered", repeat(func(p *Inventory) {
			p.Drop(listedID)
			p.Add(Entry{ID: listedID, MachineID: "2"})
		})},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const takes = 5 * time.Second
				p := reading(t, &slow{pages: 5, latency: takes / 5}, 1000)
				exact := func(when string) {
					t.Helper()
					if taken, kept := charged(p); taken != kept || kept == 0 {
						t.Errorf("%s: %d bytes are taken, and the snapshot keeps %d", when, taken, kept)
					}
				}
				p.Warm()
				row.change(p)
				elapse(takes + time.Second/2)
				exact("it happened during a list")
				row.change(p)
				exact("without a list")

				_ = p.Await() // It begins when the pause after the first list ends.
				elapse(time.Second)
				row.change(p)
				elapse(takes - time.Second)
				exact("the list begins")
				elapse(takes)
				exact("it happened before the list")
				p.Reset()
				if taken, _ := charged(p); taken != 0 {
					t.Errorf("%d bytes are left over", taken)
				}
			})
		})
	}
}
