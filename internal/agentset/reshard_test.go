/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"fmt"
	"maps"
	"testing"
)

// sizeOf is what the API server counts for a Secret, which it rejects as a whole.
func sizeOf(shard map[string]Stored) (size int) {
	for _, s := range shard {
		size += s.Size
	}
	return size
}

// pass executes a plan, and reports whether it changed anything. A Secret never grows beyond what the API server takes.
func pass(t *testing.T, plan Plan, wanted map[string]Wanted, stored []map[string]Stored) bool {
	t.Helper()
	for _, write := range plan.Writes {
		for _, slot := range write.Remove {
			delete(stored[write.Shard], slot)
		}
		for _, slot := range write.Set {
			stored[write.Shard][slot] = Stored{Digest: wanted[slot].Digest, Size: wanted[slot].Size}
		}
		if size := sizeOf(stored[write.Shard]); size > 1<<20 {
			t.Fatalf("a Secret has %d bytes", size)
		}
	}
	return len(plan.Writes) > 0
}

// A cluster grows, and whenever the Secrets are full, its user sets spec.sessions.shards as the message says. Then it shrinks, and fewer
// Secrets are set. All sessions get into their Secrets.
func TestPlanSessions_NumberOfSecretsChanges_AllSessionsAreStored(t *testing.T) {
	const most = 9000
	slot := func(n int) string { return fmt.Sprintf("ip-10-0-%d-%d", n/250, n%250) }
	wanted, stored := map[string]Wanted{}, []map[string]Stored{{}}
	settle := func() {
		for range 40 {
			plan := PlanSessions(wanted, stored)
			for len(plan.Excess) > 0 && len(stored) < plan.Needed {
				stored = append(stored, map[string]Stored{})
			}
			if !pass(t, plan, wanted, stored) && len(plan.Excess) == 0 {
				break
			}
		}
		have := 0
		for shard := range stored {
			for slot := range stored[shard] {
				if Shard(slot, len(stored)) == shard {
					have++
				}
			}
		}
		if have != len(wanted) {
			t.Fatalf("%d of %d sessions are in their Secret, of %d", have, len(wanted), len(stored))
		}
	}
	for n := range most {
		if wanted[slot(n)] = (Wanted{Digest: "1", Size: 1000}); n%25 == 24 {
			settle()
		}
	}
	if len(stored) < 9 {
		t.Fatalf("%d Secrets hold %d sessions", len(stored), most)
	}
	for count := len(stored) - 1; count > 0; count-- {
		maps.DeleteFunc(wanted, func(string, Wanted) bool { return len(wanted) > count*900 })
		settle()
		stored = stored[:count]
		settle()
	}
}
