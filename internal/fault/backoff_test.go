/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fault

import (
	"fmt"
	"testing"
	"time"
)

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	const least, most = time.Second, 5 * time.Minute
	for _, row := range []struct {
		failures int
		top      time.Duration
	}{
		{-1, least}, {0, least}, {1, least}, {2, 2 * least}, {3, 4 * least}, {9, 256 * least}, {10, most}, {16, most}, {1 << 40, most},
	} {
		t.Run(fmt.Sprint(row.failures, " failures"), func(t *testing.T) {
			seen := map[time.Duration]bool{}
			for range 200 {
				got := Backoff(row.failures, least, most)
				if got < row.top/2 || got > row.top {
					t.Fatalf("%s, want between %s and %s", got, row.top/2, row.top)
				}
				seen[got] = true
			}
			if len(seen) < 100 {
				t.Errorf("only %d different times: Agents that fail together retry together", len(seen))
			}
		})
	}
	if got := Backoff(1, time.Nanosecond, time.Nanosecond); got > time.Nanosecond {
		t.Errorf("the shortest is %s", got)
	}
}
