/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A list that was begun before a registration took effect lacks its agent, which a read then shows: it is found, whether the list is
// complete or goes on. What a list shows of an agent is more than a read leaves: it stays.
func TestKnow_AListLacksTheAgent_ItIsFound(t *testing.T) {
	for name, during := range map[string]bool{"after the list": false, "during the list": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				p := reading(t, pages(20), 1)
				p.Warm()
				elapse(time.Second)
				if !during {
					elapse(time.Minute)
				}
				taken := p.opts.Memory.held
				for range 1000 {
					Know(p, Entry{ID: "read", MachineID: "m"}, time.Now())
				}
				Know(p, Entry{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", 7), MachineID: "7"}, time.Now())
				if more := p.opts.Memory.held - taken; more > 2000 {
					t.Errorf("a thousand reads of an agent take %d bytes", more)
				}
				elapse(time.Minute)
				found, _, err := p.FindByMachine(t.Context(), "m", began.Add(-1))
				if err != nil || len(found) != 1 {
					t.Errorf("found %v, error %v", found, err)
				}
				listed, _, _, err := p.Lookup(fmt.Sprintf("00000000-0000-4000-8000-%012d", 7), began.Add(-1))
				if err != nil || listed.Remote == nil {
					t.Errorf("the listed agent is %+v, error %v", listed, err)
				}
				if want := p.snapshot.weight(); p.opts.Memory.held < want {
					t.Errorf("%d bytes are counted of %d", p.opts.Memory.held, want)
				}
			})
		})
	}
}

// An agent that was deleted during the list is not there after it, although a read showed it before.
func TestKnow_DeletedDuringTheList_IsNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := reading(t, pages(20), 1)
		p.Warm()
		elapse(time.Second)
		Know(p, Entry{ID: "read", MachineID: "m"}, time.Now())
		p.Drop("read")
		elapse(time.Minute)
		if found, _, err := p.FindByMachine(t.Context(), "m", began.Add(-1)); err != nil || len(found) != 0 {
			t.Errorf("found %v, error %v", found, err)
		}
	})
}

// A read that is older than the list shows nothing: the agent may have been deleted since, as with all others of a lost project.
func TestKnow_ReadBeforeTheList_ChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		read := time.Now()
		elapse(time.Second)
		began := time.Now()
		p := reading(t, pages(20), 1)
		p.Warm()
		elapse(time.Second)
		Know(p, Entry{ID: "read", MachineID: "m"}, read)
		elapse(time.Minute)
		Know(p, Entry{ID: "read", MachineID: "m"}, read)
		if found, _, err := p.FindByMachine(t.Context(), "m", began.Add(-1)); err != nil || len(found) != 0 {
			t.Errorf("found %v, error %v", found, err)
		}
	})
}

// Without memory for what a read shows, the list stays as it is.
func TestKnow_WithoutMemory_LeavesTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		p := reading(t, pages(20), 1)
		p.Warm()
		elapse(time.Minute)
		for n := 0; p.opts.Memory.Charge("default").Add(1<<10) == nil; n++ {
			if n > 1<<20 {
				t.Fatal("the memory has no end")
			}
		}
		Know(p, Entry{ID: strings.Repeat("read", 4<<10), MachineID: "m"}, time.Now())
		if found, _, err := p.FindByMachine(t.Context(), "7", began.Add(-1)); err != nil || len(found) != 1 {
			t.Errorf("found %v, error %v", found, err)
		}
	})
}
