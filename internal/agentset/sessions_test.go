/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// inShard are n slots that one of shards Secrets holds.
func inShard(n, shard, shards int) (slots []string) {
	for i := 0; len(slots) < n; i++ {
		if slot := fmt.Sprintf("node-%d", i); Shard(slot, shards) == shard {
			slots = append(slots, slot)
		}
	}
	return slots
}

func TestPlanSessions(t *testing.T) {
	a := inShard(1, 0, 2)[0]
	known := func(digest string) Wanted { return Wanted{Digest: digest, Size: 10} }
	have := func(digest string) Stored { return Stored{Digest: digest, Size: 10} }
	none := map[string]Stored{}
	for _, row := range []struct {
		name   string
		wanted map[string]Wanted
		stored []map[string]Stored
		want   Plan
	}{
		{"nothing", nil, []map[string]Stored{none, none}, Plan{}},
		{"a new session", map[string]Wanted{a: known("1")}, []map[string]Stored{none, none}, Plan{Writes: []Write{{Shard: 0, Set: []string{a}}}}},
		{"stored", map[string]Wanted{a: known("1")}, []map[string]Stored{{a: have("1")}, none}, Plan{}},
		{"renewed", map[string]Wanted{a: known("2")}, []map[string]Stored{{a: have("1")}, none},
			Plan{Writes: []Write{{Shard: 0, Set: []string{a}}}, Renewed: []string{a}}},
		{"the Agent is gone", nil, []map[string]Stored{{a: have("1")}, none}, Plan{Writes: []Write{{Shard: 0, Remove: []string{a}}}}},
		{"not known now", map[string]Wanted{a: {Unknown: true}}, []map[string]Stored{{a: have("1")}, none}, Plan{}},
		{"not known yet", map[string]Wanted{a: {Unknown: true}}, []map[string]Stored{none, none}, Plan{}},
		{"in another Secret: it is added first", map[string]Wanted{a: known("1")}, []map[string]Stored{none, {a: have("1")}},
			Plan{Writes: []Write{{Shard: 0, Set: []string{a}}}}},
		{"in both: it leaves the former", map[string]Wanted{a: known("1")}, []map[string]Stored{{a: have("1")}, {a: have("1")}},
			Plan{Writes: []Write{{Shard: 1, Remove: []string{a}}}}},
		{"in another Secret, and not known now", map[string]Wanted{a: {Unknown: true}}, []map[string]Stored{none, {a: have("1")}}, Plan{}},
		{"in another Secret, and renewed", map[string]Wanted{a: known("2")}, []map[string]Stored{none, {a: have("1")}},
			Plan{Writes: []Write{{Shard: 0, Set: []string{a}}}, Renewed: []string{a}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, PlanSessions(row.wanted, row.stored), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestSessionsThatDoNotFitSayHowManySecretsTheyNeed(t *testing.T) {
	const each = 1000 // so 1,000 fit into one Secret
	for _, row := range []struct {
		name           string
		sessions, size int
		from           int
		excess         bool
		fits           bool
	}{
		{"as many as fit", 1000, each, 1, false, true},
		{"one too many", 1001, each, 1, true, true},
		{"many more", 9000, each, 1, true, true},
		{"many more, in 4", 9000, each, 4, true, true},
		{"too many for 32", 40_000, each, 1, true, false},
		{"one that fits nowhere", 1, maxShard + 1, 1, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			wanted := map[string]Wanted{}
			for i := range row.sessions {
				wanted[fmt.Sprintf("node-%d", i)] = Wanted{Digest: "1", Size: row.size}
			}
			stored := make([]map[string]Stored, row.from)
			for i := range stored {
				stored[i] = map[string]Stored{}
			}
			plan := PlanSessions(wanted, stored)
			if (len(plan.Excess) > 0) != row.excess {
				t.Fatalf("%d sessions do not fit", len(plan.Excess))
			}
			if row.excess && (plan.Needed > 0) != row.fits {
				t.Errorf("it needs %d Secrets", plan.Needed)
			}
			if plan.Needed == 0 {
				return
			}
			more := make([]map[string]Stored, plan.Needed)
			for i := range more {
				more[i] = map[string]Stored{}
			}
			if again := PlanSessions(wanted, more); len(again.Excess) > 0 {
				t.Errorf("with %d Secrets %d do not fit", plan.Needed, len(again.Excess))
			}
		})
	}
}

func TestASecretThatIsFullKeepsWhatItHas(t *testing.T) {
	wanted, stored := map[string]Wanted{}, map[string]Stored{}
	for i := range 1000 {
		wanted[fmt.Sprintf("node-%d", i)] = Wanted{Digest: "1", Size: 1000}
		stored[fmt.Sprintf("node-%d", i)] = Stored{Digest: "1", Size: 1000}
	}
	wanted["a-new-node"] = Wanted{Digest: "1", Size: 1000} // the first by name
	wanted["node-7"] = Wanted{Digest: "2", Size: 1000}
	delete(wanted, "node-8")
	plan := PlanSessions(wanted, []map[string]Stored{stored})
	want := Plan{
		Writes:  []Write{{Set: []string{"a-new-node", "node-7"}, Remove: []string{"node-8"}}},
		Renewed: []string{"node-7"},
	}
	if diff := cmp.Diff(want, plan, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Whatever the Secrets hold, following the plan ends, and every session is in its own Secret alone then.
func TestFollowingThePlanEnds(t *testing.T) {
	slots := []string{"a", "b", "c"}
	states := []string{"", "1", "2"}
	for from := range 27 * 27 {
		stored := []map[string]Stored{{}, {}}
		code := from
		for _, slot := range slots {
			for shard := range stored {
				if state := states[code%3]; state != "" {
					stored[shard][slot] = Stored{Digest: state, Size: 10}
				}
				code /= 3
			}
		}
		wanted := map[string]Wanted{"a": {Digest: "1", Size: 10}, "b": {Digest: "2", Size: 10}}
		rounds := 0
		for ; rounds < 5; rounds++ {
			plan := PlanSessions(wanted, stored)
			if len(plan.Writes) == 0 {
				break
			}
			for _, write := range plan.Writes {
				for _, slot := range write.Remove {
					delete(stored[write.Shard], slot)
				}
				for _, slot := range write.Set {
					stored[write.Shard][slot] = Stored{Digest: wanted[slot].Digest, Size: wanted[slot].Size}
				}
			}
			for slot := range wanted { // Nobody is without a session meanwhile, who had one.
				if _, a := stored[0][slot]; !a {
					if _, b := stored[1][slot]; !b {
						t.Fatalf("from %d: %s is in no Secret", from, slot)
					}
				}
			}
		}
		if rounds == 5 {
			t.Fatalf("from %d: it does not end", from)
		}
		for shard, held := range stored {
			for slot, have := range held {
				if Shard(slot, 2) != shard || have.Digest != wanted[slot].Digest {
					t.Fatalf("from %d: %v", from, stored)
				}
			}
		}
		if len(stored[0])+len(stored[1]) != 2 {
			t.Fatalf("from %d: %v", from, stored)
		}
	}
}

func TestTheSizeOfASessionCoversItsKeys(t *testing.T) {
	data := map[string][]byte{"node-a.session.CALYPTIA": make([]byte, 300), "node-a.calyptia.yaml": make([]byte, 200)}
	keys := len(strings.Join(slices.Collect(maps.Keys(data)), ""))
	if got, want := Size(data), (500+2*keys+48)*3/4; got != max(want, 500) {
		t.Errorf("size %d, want %d", got, want)
	}
	if got := Size(map[string][]byte{"a": make([]byte, 900_000)}); got != 900_000 {
		t.Errorf("the size of a large value is %d", got)
	}
}

func TestThePauseGrowsWithTheWrites(t *testing.T) {
	for writes, want := range map[int]time.Duration{0: 0, 1: 3 * time.Second, 4: 12 * time.Second, 32: time.Minute} {
		if got := Pause(writes); got != want {
			t.Errorf("after %d writes %s, want %s", writes, got, want)
		}
	}
}
