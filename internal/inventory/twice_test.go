/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"
)

// A server lists each agent twice, with two machine IDs that all have in common. The last one counts, and to make the snapshot, which
// holds the lock and a processor, takes no longer than to read the list.
func TestNewSnapshot_AllAgentsTwiceWithTwoMachineIDs_IsMadeAtOnce(t *testing.T) {
	const agents = 50_000
	var entries []Entry
	for _, machine := range []string{"machine-1", "machine-2"} {
		for n := range agents {
			entries = append(entries, Entry{ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), MachineID: machine})
		}
	}
	var before, after syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	s := newSnapshot(&run{}, entries, 0)
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	if len(s.byMachine["machine-2"]) != agents || len(s.byMachine) != 1 {
		t.Errorf("%d agents have the last machine ID, of %d", len(s.byMachine["machine-2"]), len(s.byMachine))
	}
	if took := time.Duration(after.Utime.Nano() - before.Utime.Nano()); took > time.Second {
		t.Errorf("a snapshot of %d entries took %s of a processor", len(entries), took)
	}
}

// What is registered or deleted while a list runs is later than what it shows. The response to a registration is no evidence of another
// machine ID than the listed one.
func TestNewSnapshot_AgentsAddedAndDropped_AreLater(t *testing.T) {
	r := &run{
		added:   []Entry{{ID: "a", MachineID: "other"}, {ID: "d", MachineID: "added"}, {ID: "f", MachineID: "added"}},
		dropped: map[string]bool{"b": true, "d": true},
	}
	var listed []Entry
	for _, id := range []string{"a", "b", "c", "e", "c"} {
		listed = append(listed, Entry{ID: id, MachineID: "m"})
	}
	s := newSnapshot(r, listed, 0)
	if len(s.entries) != 4 || !slices.Equal(s.byMachine["m"], []string{"a", "e", "c"}) || !slices.Equal(s.byMachine["added"], []string{"f"}) {
		t.Errorf("got %+v", s)
	}
}
