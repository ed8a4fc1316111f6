/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package parent ends a program with the one that started it.
package parent

import (
	"os"
	"time"
)

// EndWith ends this program when the one that started it is gone, where that one asked for it: a test that
// is killed or panics cannot clean up. Watching the parent works on every platform and however it ends.
func EndWith() {
	if os.Getenv("CONTROLPLANE_ENDS_WITH_PARENT") == "" {
		return
	}
	parent := os.Getppid() // before anything else, or it is already another one
	go func() {
		for range time.Tick(time.Second) {
			if os.Getppid() != parent {
				os.Exit(1)
			}
		}
	}()
}
