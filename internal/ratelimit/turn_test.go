/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package ratelimit_test

import (
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// A reconciliation ends at a server that always gives a reason for another slow request, and never before it made some.
func TestTurn_Ends(t *testing.T) {
	for _, row := range []struct {
		name  string
		takes time.Duration // each request
		want  int           // requests
	}{
		{"fast", 10 * time.Millisecond, 1000},
		{"slow", 300 * time.Millisecond, 34},
		{"just in time", 15 * time.Second, 8},
	} {
		t.Run(row.name, func(t *testing.T) {
			now := time.Now()
			turn, made := ratelimit.NewTurn(now), 0
			for ; turn.Next(now) && made < 2000; made++ {
				now = now.Add(row.takes)
			}
			if made != row.want {
				t.Errorf("it made %d requests, want %d", made, row.want)
			}
		})
	}
	var none *ratelimit.Turn
	if !none.Next(time.Now()) {
		t.Error("without a turn there is no request")
	}
}
