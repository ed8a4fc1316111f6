/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

// Leads reports whether this process leads: elected is closed then. Of several replicas one counts what is in the cluster, or
// sums would count it several times. nil says that the process always leads.
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
