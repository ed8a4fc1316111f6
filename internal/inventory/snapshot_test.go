/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"testing"
	"time"
)

// A server may list one machine ID for all agents. The snapshot is made under a lock that all Agents of the project need.
func TestNewSnapshot_OneMachineID_IsFast(t *testing.T) {
	entries := make([]Entry, 100_000)
	for i := range entries {
		entries[i] = Entry{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", i), MachineID: "m"}
	}
	began := time.Now()
	s := newSnapshot(&run{dropped: map[string]bool{}}, entries, 0)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if got := len(s.byMachine["m"]); got != len(entries) {
		t.Errorf("%d agents with the machine ID", got)
	}
}

// An agent that is listed twice, with another machine ID each time, has the last one only.
func TestPut_AnotherMachineID_ReplacesTheFirst(t *testing.T) {
	s := newSnapshot(&run{dropped: map[string]bool{}}, []Entry{{ID: "1", MachineID: "a"}, {ID: "1", MachineID: "b"}, {ID: "1", MachineID: "b"}}, 0)
	if len(s.byMachine["a"]) != 0 || len(s.byMachine["b"]) != 1 {
		t.Errorf("by machine ID: %v", s.byMachine)
	}
}
