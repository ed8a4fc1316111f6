/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// duplicates are remote agents with the machine ID of an Agent's own that the operator does not delete.
type duplicates struct {
	mu  sync.Mutex
	ids map[types.UID][]string
}

// SetDuplicates records the duplicates of one Agent.
func (d *duplicates) SetDuplicates(who types.UID, ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ids == nil {
		d.ids = map[types.UID][]string{}
	}
	if len(ids) == 0 {
		delete(d.ids, who)
		return
	}
	d.ids[who] = ids
}

// Duplicates returns the duplicates of all Agents, sorted; the first hundred at most.
func (d *duplicates) Duplicates() []string {
	const most = 100
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for _, ids := range d.ids {
		all = append(all, ids...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	return all[:min(len(all), most)]
}
