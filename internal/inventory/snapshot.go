/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"slices"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// mostWords bounds the texts kept of one agent, in bytes.
const mostWords = 4 << 10

// Entry is one remote agent as a list shows it.
type Entry struct {
	ID        string
	MachineID string
	CreatedAt time.Time
	// Reported is true if the agent ever sent metrics.
	Reported bool
	// Remote is the agent without its token, configuration and metadata; nil if its texts are too long or hold the
	// token, or if it comes from no list.
	Remote *cloud.Agent
	// RawConfig and Metadata are the hashes of the fields that Remote lacks.
	RawConfig, Metadata string
}

func entryOf(a *cloud.Agent) Entry {
	e := Entry{ID: a.ID, CreatedAt: a.CreatedAt, Reported: a.Reported()}
	if !cloud.ValidMachineID(a.MachineID) {
		return e // No Agent has it, and it may have any length.
	}
	e.MachineID = a.MachineID
	if a.Words() > mostWords || a.ShowsToken() {
		return e // It is read, and its token hidden.
	}
	light := *a
	light.RawConfigHash, light.Metadata, light.Token = "", nil, cloud.Token{}
	e.Remote, e.RawConfig, e.Metadata = &light, a.RawConfigHash, cloud.Hash(cloud.Canonical(a.Metadata))
	return e
}

// snapshot is a complete list, updated with later registrations and deletions.
type snapshot struct {
	entries   map[string]Entry    // by ID
	byMachine map[string][]string // IDs by machine ID
	startedAt time.Time           // zero if there is no list
	took      time.Duration       // to read the list
	lasted    time.Duration       // the same with the waits between its pages
	charge    *Charge             // nil if there is no list
}

// newSnapshot makes a snapshot of a finished list, and of what was registered and deleted while it ran.
func newSnapshot(r *run, entries []Entry, took time.Duration) snapshot {
	s := snapshot{entries: map[string]Entry{}, byMachine: map[string][]string{}, startedAt: r.startedAt, took: took}
	// Of an agent that is listed twice the last entry counts. From the end, none has to be taken out again: a server may list all twice.
	for _, e := range slices.Backward(entries) {
		if _, later := s.entries[e.ID]; !later && !r.dropped[e.ID] {
			s.entries[e.ID] = e
			s.byMachine[e.MachineID] = append(s.byMachine[e.MachineID], e.ID)
		}
	}
	for _, ids := range s.byMachine {
		slices.Reverse(ids)
	}
	for _, e := range r.added {
		if !r.dropped[e.ID] {
			s.put(e)
		}
	}
	for id, e := range r.read {
		if _, listed := s.entries[id]; !listed && !r.dropped[id] {
			s.put(e)
		}
	}
	return s
}

// put adds what was registered. Nothing is searched here: a server may list one machine ID very often. A charge has been made for it.
func (s *snapshot) put(e Entry) {
	if s.entries == nil {
		return
	}
	if before, known := s.entries[e.ID]; known {
		// A response may name an agent of another team: it is no evidence of a machine ID other than the listed one.
		if before.MachineID == e.MachineID {
			s.entries[e.ID] = e
		}
		return
	}
	s.entries[e.ID] = e
	s.byMachine[e.MachineID] = append(s.byMachine[e.MachineID], e.ID)
}

// weight is the memory that all entries take.
func (s *snapshot) weight() (bytes int64) {
	for _, e := range s.entries {
		bytes += weigh(&e)
	}
	return bytes
}

// adds is the memory that an entry takes beside what is there.
func (s *snapshot) adds(e *Entry) int64 {
	switch before, known := s.entries[e.ID]; {
	case !known:
		return weigh(e)
	case before.MachineID == e.MachineID:
		return weigh(e) - weigh(&before)
	default:
		return 0 // See put.
	}
}

// endedAt is when the list was complete; zero if there is none.
func (s *snapshot) endedAt() time.Time { return s.startedAt.Add(s.lasted) }

func (s *snapshot) drop(id string) {
	e, known := s.entries[id]
	if !known {
		return
	}
	delete(s.entries, id)
	_ = s.charge.Add(-weigh(&e)) // what is returned never fails
	ids := slices.DeleteFunc(s.byMachine[e.MachineID], func(other string) bool { return other == id })
	if s.byMachine[e.MachineID] = ids; len(ids) == 0 {
		delete(s.byMachine, e.MachineID)
	}
}

// Add records a remote agent that was registered. What finds no memory ends the snapshot, and the list in progress: whoever needs one next
// waits for another, which is refused until there is memory again.
func (i *Inventory) Add(e Entry) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.snapshot.entries != nil {
		i.snapshot.add(e)
	}
	if i.running != nil && i.running.takes(weigh(&e)) {
		i.running.added = append(i.running.added, e)
	}
}

// add puts an entry into a snapshot, or ends that if there is no memory.
func (s *snapshot) add(e Entry) {
	if s.charge.Add(s.adds(&e)) != nil {
		s.charge.End()
		*s = snapshot{}
		return
	}
	s.put(e)
}

// takes charges the list in progress with memory, and cancels it if there is none.
func (r *run) takes(bytes int64) bool {
	if err := r.charge.Add(bytes); err != nil {
		r.full = err
		r.cancel()
		return false
	}
	return true
}

// Know records a remote agent that a read showed then. A list that was begun before its registration took effect may lack it; one that was
// begun after the read shows what became of it. Without memory for it nothing else changes.
func Know(i *Inventory, e Entry, then time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	s, r := &i.snapshot, i.running
	if _, listed := s.entries[e.ID]; s.entries != nil && !listed && then.After(s.startedAt) && s.charge.Add(weigh(&e)) == nil {
		s.put(e)
	}
	if r == nil || !then.After(r.startedAt) {
		return
	}
	if _, known := r.read[e.ID]; !known && r.charge.Add(weigh(&e)) == nil {
		r.read[e.ID] = e
	}
}

// Drop records that a remote agent no longer exists.
func (i *Inventory) Drop(id string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.snapshot.drop(id)
	if r := i.running; r != nil && !r.dropped[id] && r.takes(droppedBytes) {
		r.dropped[id] = true
	}
}
