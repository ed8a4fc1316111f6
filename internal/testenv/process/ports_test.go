/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package process_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
)

// Many programs are started at the same time, each a moment after its port was chosen: nobody else chooses it meanwhile.
func TestFreePort_IsGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 500 {
		port, err := process.FreePort("127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d is given twice", port)
		}
		given[port] = true
	}
}
