/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
)

// caches hold what is known of each Agent, by UID: a new Agent of the same name is another one.
type caches struct {
	mu   sync.Mutex
	all  map[types.UID]*remoteagent.Known
	uids map[types.NamespacedName]types.UID
}

// last returns what is known of the Agent that had this name when it was reconciled last, and its UID; nil if none had.
func (c *caches) last(key types.NamespacedName) (*remoteagent.Known, types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := c.uids[key]
	return c.all[uid], uid
}

// of returns what is known of an Agent. Another one that had its name is forgotten.
func (c *caches) of(key types.NamespacedName, uid types.UID) *remoteagent.Known {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all, c.uids = map[types.UID]*remoteagent.Known{}, map[types.NamespacedName]types.UID{}
	}
	if before, had := c.uids[key]; had && before != uid {
		delete(c.all, before)
	}
	c.uids[key] = uid
	if c.all[uid] == nil {
		c.all[uid] = &remoteagent.Known{}
	}
	return c.all[uid]
}

// forget drops what is known of the Agent of this name, and returns its UID.
func (c *caches) forget(key types.NamespacedName) (types.UID, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid, had := c.uids[key]
	delete(c.uids, key)
	delete(c.all, uid)
	return uid, had
}
