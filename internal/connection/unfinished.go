/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

const (
	// unfinishedMemory bounds what all unfinished turns hold, in bytes.
	unfinishedMemory = 16 << 20
	// unfinishedAge is how long what a turn saw counts in later turns. A shorter interval of the Agent bounds what was seen to exist, too.
	unfinishedAge = DefaultResyncInterval
	// readBytes is what a read agent takes without its texts.
	readBytes = 1024
)

// unfinished holds what the turns of Agents saw that the rate limit ended: the next turn of the Agent goes on from there. Without it each
// turn would begin with the same read, and a rate limit of one request at a time would never permit the request after that. Lost, or no
// memory left: the reads are made again.
type unfinished struct {
	mu    sync.Mutex
	turns map[types.UID]*unfinishedTurn
	total int            // bytes that all turns hold
	held  map[string]int // the same by namespace
}

// unfinishedTurn is what the turns of one Agent saw, in one session, and for one request to reconcile.
type unfinishedTurn struct {
	of        *shared
	session   int
	requested string
	namespace string
	newest    time.Time            // when the last of seen was
	seen      map[string]seenAgent // by ID
}

// seenAgent is a remote agent as a read showed it; nil if it does not exist, as two checks confirmed.
type seenAgent struct {
	remote *cloud.Agent
	at     time.Time
	bytes  int // that it takes
}

func (t *unfinishedTurn) goesOn(of *shared, who ratelimit.Caller) bool {
	return t != nil && t.of == of && t.session == who.Session && t.requested == who.Requested
}

// end is called with the lock held, as all that follows.
func (u *unfinished) end(who types.UID) {
	if t := u.turns[who]; t != nil {
		for _, seen := range t.seen {
			u.hold(t.namespace, -seen.bytes)
		}
		delete(u.turns, who)
	}
}

func (u *unfinished) hold(namespace string, bytes int) {
	u.total += bytes
	if u.held[namespace] += bytes; u.held[namespace] == 0 {
		delete(u.held, namespace)
	}
}

// fits reports whether there is memory for what a turn saw. If all is held, turns end that count no more, and then those of the namespaces
// that hold the most, as long as that is as much as this one then would.
func (u *unfinished) fits(namespace string, bytes int, now time.Time) bool {
	if u.total+bytes > unfinishedMemory {
		for who, t := range u.turns {
			if now.Sub(t.newest) >= unfinishedAge {
				u.end(who)
			}
		}
	}
	for u.total+bytes > unfinishedMemory {
		most := u.most(namespace)
		if u.held[most] < u.held[namespace]+bytes {
			return false
		}
		for who, t := range u.turns {
			if t.namespace == most && len(t.seen) > 0 { // Others hold nothing.
				u.end(who)
				break
			}
		}
	}
	return true
}

// most is the namespace that holds the most, besides one.
func (u *unfinished) most(besides string) (most string) {
	for namespace, held := range u.held {
		if namespace != besides && held > u.held[most] {
			most = namespace
		}
	}
	return most
}

// forget ends the turns of a CloudProject that was deleted.
func (u *unfinished) forget(of *shared) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for who, t := range maps.Clone(u.turns) {
		if t.of == of {
			u.end(who)
		}
	}
}

// turns is the part of a Connection with the unfinished turns.
type turns struct{ *shared }

func (t turns) unfinished() *unfinished { return &t.registry.unfinished }

// find returns what the turns of an Agent saw of a remote agent.
func (t turns) find(who ratelimit.Caller, id string) (seen seenAgent, ok bool) {
	t.mu.Lock()
	current := t.epoch.session == who.Session
	t.mu.Unlock()
	u, now := t.unfinished(), t.registry.opts.Clock.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	if last := u.turns[who.UID]; current && last.goesOn(t.shared, who) {
		seen, ok = last.seen[id]
	}
	age := unfinishedAge
	if seen.remote != nil && who.Interval > 0 {
		age = min(age, who.Interval)
	}
	return seen, ok && now.Sub(seen.at) < age
}

// add records what a turn saw of a remote agent; nil if it does not exist.
func (t turns) add(who ratelimit.Caller, id string, remote *cloud.Agent) {
	if who.Session == 0 {
		return
	}
	seen := seenAgent{remote: remote, at: t.registry.opts.Clock.Now(), bytes: readBytes}
	if remote != nil {
		seen.bytes += remote.Words() + len(remote.MachineID) + len(remote.Token.Reveal()) + len(remote.RawConfig) + len(remote.Metadata)
	}
	u := t.unfinished()
	u.mu.Lock()
	defer u.mu.Unlock()
	last := u.turns[who.UID]
	if !last.goesOn(t.shared, who) {
		u.end(who.UID)
		last = &unfinishedTurn{
			of: t.shared, session: who.Session, requested: who.Requested, namespace: who.Namespace, seen: map[string]seenAgent{},
		}
		u.turns[who.UID] = last
	}
	last.newest = seen.at
	u.hold(last.namespace, -last.seen[id].bytes)
	delete(last.seen, id) // It is outdated, also where memory is short.
	if u.fits(last.namespace, seen.bytes, seen.at) {
		u.hold(last.namespace, seen.bytes)
		last.seen[id] = seen
	}
}

// EndTurn ends the turn of an Agent, of whose requests nothing counts in the next.
func (r *Registry) EndTurn(who types.UID) {
	u := &r.unfinished
	u.mu.Lock()
	defer u.mu.Unlock()
	u.end(who)
}

// Missing reports whether two checks of the turns of an Agent confirmed that a remote agent does not exist.
func (t turns) Missing(who ratelimit.Caller, id string) bool {
	seen, ok := t.find(who, id)
	return ok && seen.remote == nil
}

// ConfirmedMissing records that two checks confirmed that a remote agent does not exist. A first check is never recorded: it would count
// as the second.
func (t turns) ConfirmedMissing(who ratelimit.Caller, id string) { t.add(who, id, nil) }

// ReadAt is when the turns of an Agent read a remote agent.
func (t turns) ReadAt(who ratelimit.Caller, id string) time.Time {
	if seen, ok := t.find(who, id); ok {
		return seen.at
	}
	return t.registry.opts.Clock.Now()
}
