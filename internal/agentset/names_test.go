/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 70) + ".example"
	dotted := strings.Repeat("b", 51) + ".-" + strings.Repeat("c", 30)
	for _, row := range []struct{ name, key, slot, host string }{
		{"a node", "node-a", "node-a", "node-a"},
		{"a node of a cloud", "ip-10-0-1-2.eu-west-1.compute.internal", "ip-10-0-1-2.eu-west-1.compute.internal", "ip-10-0-1-2.eu-west-1.compute.internal"},
		{"63 characters", strings.Repeat("a", 63), strings.Repeat("a", 63), strings.Repeat("a", 63)},
		{"a label that is no host name's", long, Slot(long), Slot(long)},
		{"64 characters in two labels", strings.Repeat("a", 40) + "." + strings.Repeat("b", 23), Slot(strings.Repeat("a", 40) + "." + strings.Repeat("b", 23)),
			strings.Repeat("a", 40) + "." + strings.Repeat("b", 23)},
		{"cut at a dot and a dash", dotted, Slot(dotted), Slot(dotted)},
	} {
		t.Run(row.name, func(t *testing.T) {
			slot := Slot(row.key)
			if slot != row.slot || HostName(row.key) != row.host {
				t.Errorf("slot %q, host name %q", slot, HostName(row.key))
			}
			if problems := validation.IsValidLabelValue(slot); len(problems) > 0 {
				t.Errorf("the slot %q is no label: %v", slot, problems)
			}
			name := AgentName("logs", row.key)
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Errorf("%q is no name: %v", name, problems)
			}
			if back, ok := SlotOf("logs", name); !ok || back != slot {
				t.Errorf("from %q comes the slot %q", name, back)
			}
			if slot != row.key && !regexp.MustCompile(`-[0-9a-f]{10}$`).MatchString(slot) {
				t.Errorf("%q has no hash", slot)
			}
		})
	}
}

func TestLongNamesStayApart(t *testing.T) {
	seen := map[string]bool{}
	for i := range 1000 {
		seen[Slot(strings.Repeat("a", 80)+fmt.Sprint(i))] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d slots for 1000 nodes", len(seen))
	}
}

func TestOnlyNamesOfTheSetHaveASlot(t *testing.T) {
	for name, want := range map[string]string{
		"logs-a": "a", "logs-": "", "logs": "", "other-a": "", "logs-" + strings.Repeat("a", 63): strings.Repeat("a", 63),
		"logs-" + strings.Repeat("a", 64): "",
	} {
		got, ok := SlotOf("logs", name)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%s has the slot %q, %v; want %q", name, got, ok, want)
		}
	}
}

func TestShardsAreStableAndEven(t *testing.T) {
	// These are in the Secrets of users: another value would move every session.
	for slot, want := range map[string]int{"node-a": 3, "node-b": 2, "ip-10-0-1-2": 2} {
		if got := Shard(slot, 4); got != want {
			t.Errorf("%s is in shard %d, want %d", slot, got, want)
		}
	}
	for _, shards := range []int{2, 8, 32} {
		counts := make([]int, shards)
		for i := range 1000 * shards {
			counts[Shard(fmt.Sprintf("ip-10-0-%d-%d.eu-west-1.compute.internal", i/256, i%256), shards)]++
		}
		for shard, count := range counts {
			if count < 850 || count > 1150 {
				t.Errorf("shard %d of %d has %d of 1000 on average", shard, shards, count)
			}
		}
	}
	if Shard("a", 0) != 0 || Shard("a", -1) != 0 {
		t.Error("without a number there is no shard")
	}
}
