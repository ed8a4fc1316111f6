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

// mostDuplicates is how many duplicates of one Agent are kept: the CloudProject shows no more.
const mostDuplicates = 100

// duplicates are remote agents with the machine ID of an Agent's own that the operator does not delete.
type duplicates struct {
	mu  sync.Mutex
	ids map[types.UID][]string
}

// SetDuplicates records the duplicates of one Agent, a hundred at most.
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
	d.ids[who] = slices.Clone(ids[:min(len(ids), mostDuplicates)]) // Cloned, or the rest would be kept with it.
}

func (d *duplicates) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.ids)
}

// DuplicatesOf returns the duplicates of one Agent, as its last check here found them.
func (d *duplicates) DuplicatesOf(who types.UID) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ids[who]
}
