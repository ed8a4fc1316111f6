/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/internal/inventory"
)

// SameProject reports whether two Connections are known to be of one project, at this endpoint: they have one token, or the tokens or
// lists of both show the project. A spec.projectID alone is only a claim.
func SameProject(a, b *Connection, at Endpoint) bool {
	token, here := a.holds()
	other, there := b.holds()
	return here == at && there == at && (token.Equal(other) || a.Vouched() && b.Vouched())
}

// projectInventory is the inventory of a CloudProject. What is registered, or found missing, through one CloudProject changes the snapshots
// of all of the same project: an Agent may be created again with another one, whose list is older.
type projectInventory struct {
	*inventory.Inventory
	connection *Connection
}

// Add records a remote agent that was registered at an endpoint, also if the token was replaced meanwhile. same are the siblings when the
// registration was sent.
func (p projectInventory) Add(e inventory.Entry, at Endpoint, same []*Connection) {
	for _, c := range sets.New(append(same, p.siblings(at)...)...).Insert(p.connection).UnsortedList() {
		if c.Endpoint() == at {
			c.Inventory.Add(e)
		}
	}
}

// Drop records that a remote agent no longer exists.
func (p projectInventory) Drop(id string) {
	p.Inventory.Drop(id)
	for _, other := range p.siblings(p.connection.Endpoint()) {
		other.Inventory.Drop(id)
	}
}

// siblings are the Connections of the other CloudProjects of the same project, at an endpoint.
func (p projectInventory) siblings(at Endpoint) (found []*Connection) {
	r := p.connection.shared.registry
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, other := range r.connections {
		if other != p.connection && SameProject(p.connection, other, at) {
			found = append(found, other)
		}
	}
	return found
}
