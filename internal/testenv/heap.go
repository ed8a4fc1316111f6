/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package testenv

import "runtime"

// Heap is the size of the live objects of this process, in bytes.
func Heap() int64 {
	runtime.GC()
	runtime.GC() // What the first one freed, finalizers aside.
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
