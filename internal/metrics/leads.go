/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

// Leads reports whether this process leads: elected is closed then, or nil if it always leads. Only the leader reports the
// objects of the cluster, or sums would count them several times.
func Leads(elected <-chan struct{}) bool {
	if elected == nil {
		return true
	}
	select {
	case <-elected:
		return true
	default:
		return false
	}
}
