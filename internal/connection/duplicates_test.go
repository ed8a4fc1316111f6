/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A tenant can register any number of agents with the machine ID of its Agent. The operator keeps no more of them than it shows.
func TestAHundredDuplicatesOfAnAgentAreKept(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	var all []string
	for i := range 5000 {
		all = append(all, fmt.Sprint("duplicate-", i))
	}
	for _, n := range []int{1, 100, 101, 5000} {
		w.SetDuplicates("agent", all[:n])
		kept := w.DuplicatesOf("agent")
		if diff := cmp.Diff(all[:min(n, 100)], kept); diff != "" {
			t.Errorf("of %d (-want +got):\n%s", n, diff)
		}
		if cap(kept) > 200 {
			t.Errorf("of %d there is room for %d", n, cap(kept))
		}
	}
	w.SetDuplicates("agent", nil)
	if kept := w.DuplicatesOf("agent"); !slices.Equal(kept, nil) {
		t.Errorf("%v are kept of none", kept)
	}
}
