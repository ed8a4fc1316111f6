/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"maps"
	"slices"
	"time"
)

const (
	// MaxShards is the largest number of Secrets with the sessions of a set.
	MaxShards = 32
	// maxShard bounds the sessions of one Secret. The API server takes 1 MiB of values, and etcd 1.5 MiB in all.
	maxShard = 1_000_000
)

// Size is what a session takes of the bound of its Secret: its values, or three quarters of all that is stored for it,
// which includes each key twice, because the API server records who manages it.
func Size(data map[string][]byte) int {
	values, keys := 0, 0
	for key, value := range data {
		values += len(value)
		keys += 2*len(key) + 24
	}
	return max(values, (values+keys)*3/4)
}

// Wanted is the session of a slot.
type Wanted struct {
	Digest string
	Size   int
	// Unknown: the Agent exists, and its session is not known now. What is stored stays.
	Unknown bool
}

// Stored is a session in a Secret.
type Stored struct {
	Digest string
	Size   int
}

// Write is what one Secret needs. Both lists are sorted.
type Write struct {
	Shard       int
	Set, Remove []string
}

// Plan is what the Secrets of a set need.
type Plan struct {
	Writes []Write
	// Renewed are the slots whose stored session changes.
	Renewed []string
	// Excess are the slots whose sessions do not fit. Needed is the number of Secrets that they would fit into; zero if
	// none is enough.
	Excess []string
	Needed int
}

// PlanSessions compares the sessions that are wanted with those that the Secrets hold. A slot whose Secret changes leaves
// the former one only after it is in the new one, and enters that once there is room beside those that leave it. stored has one element
// for each Secret.
func PlanSessions(wanted map[string]Wanted, stored []map[string]Stored) Plan {
	var plan Plan
	var delayed []string
	shards := make([][]string, len(stored))
	for _, slot := range slices.Sorted(maps.Keys(wanted)) {
		shard := Shard(slot, len(stored))
		shards[shard] = append(shards[shard], slot)
	}
	for shard, slots := range shards {
		write := Write{Shard: shard, Remove: superfluous(shard, wanted, stored)}
		held := 0 // after the write
		for _, have := range stored[shard] {
			held += have.Size
		}
		for _, slot := range write.Remove {
			held -= stored[shard][slot].Size
		}
		used := 0 // in the end
		for _, slot := range slots {
			used += stored[shard][slot].Size
		}
		for _, slot := range slots {
			want, have := wanted[slot], stored[shard][slot]
			more := want.Size - have.Size
			switch {
			case want.Unknown || want.Digest == have.Digest:
				continue
			case used+more > maxShard:
				plan.Excess = append(plan.Excess, slot)
				continue
			case held+more > maxShard:
				used, delayed = used+more, append(delayed, slot)
				continue
			}
			used, held = used+more, held+more
			write.Set = append(write.Set, slot)
			if renewed(slot, want.Digest, stored) {
				plan.Renewed = append(plan.Renewed, slot)
			}
		}
		if len(write.Set)+len(write.Remove) > 0 {
			plan.Writes = append(plan.Writes, write)
		}
	}
	if len(plan.Writes) == 0 { // None of them would ever get room.
		plan.Excess = append(plan.Excess, delayed...)
	}
	if len(plan.Excess) > 0 {
		plan.Needed = neededShards(wanted, len(stored))
	}
	slices.Sort(plan.Excess)
	slices.Sort(plan.Renewed)
	return plan
}

// superfluous are the slots of a Secret that nobody wants, or that their own Secret holds by now.
func superfluous(shard int, wanted map[string]Wanted, stored []map[string]Stored) (slots []string) {
	for _, slot := range slices.Sorted(maps.Keys(stored[shard])) {
		want, found := wanted[slot]
		home := Shard(slot, len(stored))
		switch {
		case !found:
			slots = append(slots, slot)
		case home != shard && !want.Unknown && stored[home][slot].Digest == want.Digest:
			slots = append(slots, slot)
		}
	}
	return slots
}

// renewed reports whether pods may run with another session of the slot than the wanted one.
func renewed(slot, digest string, stored []map[string]Stored) bool {
	found := false
	for _, shard := range stored {
		have, there := shard[slot]
		if have.Digest == digest && there {
			return false
		}
		found = found || there
	}
	return found
}

// neededShards is the smallest number of Secrets that hold all sessions; zero if none is enough.
func neededShards(wanted map[string]Wanted, from int) int {
	for shards := from + 1; shards <= MaxShards; shards++ {
		used := make([]int, shards)
		for slot, want := range wanted {
			used[Shard(slot, shards)] += want.Size
		}
		if slices.Max(used) <= maxShard {
			return shards
		}
	}
	return 0
}

// Pause is how long to wait after a number of writes to the Secrets, so that many new nodes share each write.
func Pause(writes int) time.Duration {
	const each, longest = 3 * time.Second, time.Minute
	return min(time.Duration(writes)*each, longest)
}
