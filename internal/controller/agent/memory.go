/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// memory is what this process remembers of one Agent between two passes. Losing it costs calls, never
// correctness: all that counts is in the Agent, its Secret and the service.
type memory struct {
	// confirmed is the remote agent that a read or a registration of this process showed to be ours, there.
	confirmed   string
	confirmedAt connection.Endpoint
	confirmedBy string // the mark of the project token that showed it; empty if it changed meanwhile
	// secretVersion of the token Secret as it was last found to be right; sessionVersion of the session. After
	// a start being there is enough for that.
	secretVersion, sessionVersion string
	// digest of the token in that Secret.
	digest string
	// verified is true while the Secrets are as a whole pass left them. The status tells it to the next process.
	verified bool
	// unstored is the token of a registration until a Secret holds it: the service may never show it again.
	unstored cloud.Token
	// due is when the remote agent is read next; zero before the first pass.
	due time.Time
	// hold keeps failures from being tried again before their time while nothing changed.
	hold     time.Time
	holdFor  string
	holdErr  *fault.Error
	failures int
	failing  time.Time // since when it fails without a success in between
	logged   string    // the failure that was logged last
	// nonce is the open registration that was met first at nonceAt; answered is when the service's own
	// error answered its POST, zero if nothing did.
	nonce    string
	nonceAt  time.Time
	answered time.Time
	// goneAt is when the remote agent was first found gone; unlistedAt when the list began that lacked it, zero if
	// none did.
	goneAt, unlistedAt time.Time
	// request is the request to reconcile that was met last, and requestAt when it was met first.
	request   string
	requestAt time.Time
	// differs is true while the remote agent was found to differ and could not be corrected: an older list does
	// not tell that it is as declared.
	differs bool
	// resend are the fields that were found to differ and wait for the rate limit. They are sent without another look,
	// which would cost the turn, while the generation is that of resendFor.
	resend    []string
	resendFor int64
	// sent are the fields, with their hashes, that the API accepted since sentAt and that nothing has shown to be there
	// yet. Lost with the process: they are sent again then, which changes nothing.
	sent   map[string]string
	sentAt time.Time
	// sentCorrects is true if that was to correct what somebody had changed. doubted are fields, with their hashes, that
	// were sent and not found so, perhaps by another's doing: they are sent once more.
	sentCorrects bool
	doubted      map[string]string
	// unnamed is the remote agent that a "not found" may have been about, first at unnamedAt: a snapshot that was begun
	// since tells.
	unnamed   string
	unnamedAt time.Time
	// refused is the content that something between here and the API refused last.
	refused string
	// lost is the remote agent that was found gone for good, and lostAt where: there it is not asked for again.
	lost   string
	lostAt connection.Endpoint
	// absent is a remote agent that a Secret named and that the service did not have, and absentAt where.
	absent   string
	absentAt connection.Endpoint
	// written is the version of the Agent that this process wrote last.
	written string
	// unwritten counts the passes in a row that came to something which the status does not tell yet.
	unwritten int
	// posted is the Agent whose POST left, until what became of it is recorded.
	posted *v1alpha1.Agent
	// released is true once the Agent was let go. The cache may still show it for a moment.
	released bool
	// volatileAt is when the volatile part of the status was written last.
	volatileAt time.Time
}

// memories holds the memory of each Agent by UID.
type memories struct {
	mu  sync.Mutex
	all map[types.UID]*memory
	key map[types.NamespacedName]types.UID
	// missing tells when the Secrets of an Agent that is gone are swept, if they are still there.
	missing map[types.NamespacedName]time.Time
	// claims are on what only one Agent can hold, such as a machine ID in a place; claimed are those of each Agent.
	claims  map[claim]types.NamespacedName
	claimed map[types.NamespacedName][]claim
}

// claim is on a remote agent or a machine ID in a place.
type claim struct {
	place     connection.Endpoint
	agent     string
	machineID string
}

// claim gives an Agent that is being worked on what only one can hold, unless another one has it: then it
// returns that one. The cache learns too late of what two Agents do at the same moment.
func (m *memories) claim(what claim, key types.NamespacedName) (holder types.NamespacedName, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if holder, held := m.claims[what]; held && holder != key {
		if _, lives := m.key[holder]; lives {
			return holder, false
		}
	}
	if m.claims == nil {
		m.claims, m.claimed = map[claim]types.NamespacedName{}, map[types.NamespacedName][]claim{}
	}
	if m.claims[what] != key {
		m.claims[what], m.claimed[key] = key, append(m.claimed[key], what)
	}
	return key, true
}

// seize takes a claim from whoever has it, for the owner by right.
func (m *memories) seize(what claim, key types.NamespacedName) {
	m.mu.Lock()
	if m.claims[what] != key {
		delete(m.claims, what)
	}
	m.mu.Unlock()
	m.claim(what, key)
}

// before returns the memory of the Agent that had this name when it was looked at last, nil if none had.
func (m *memories) before(key types.NamespacedName) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.all[m.key[key]]
}

// missed notes that an Agent is gone and has left Secrets; it returns the time that was noted first.
func (m *memories) missed(key types.NamespacedName, until time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing == nil {
		m.missing = map[types.NamespacedName]time.Time{}
	}
	if _, known := m.missing[key]; !known {
		m.missing[key] = until
	}
	return m.missing[key]
}

// another reports whether it was another Agent that had this name when it was looked at last.
func (m *memories) another(key types.NamespacedName, uid types.UID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, known := m.key[key]
	return known && before != uid
}

// left notes that an Agent that is gone has left no Secrets.
func (m *memories) left(key types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.missing, key)
}

// of returns the memory of an Agent. One Agent is worked on by one worker at a time, so that it needs no
// lock of its own. An Agent of the same name that was there before is forgotten.
func (m *memories) of(key types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all, m.key = map[types.UID]*memory{}, map[types.NamespacedName]types.UID{}
	}
	if before, known := m.key[key]; known && before != uid {
		delete(m.all, before)
	}
	m.key[key] = uid
	delete(m.missing, key)
	if m.all[uid] == nil {
		m.all[uid] = &memory{}
	}
	return m.all[uid]
}

// forget drops the memory of the Agent of this name and returns its UID.
func (m *memories) forget(key types.NamespacedName) (types.UID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	uid, known := m.key[key]
	for _, what := range m.claimed[key] {
		if m.claims[what] == key {
			delete(m.claims, what)
		}
	}
	delete(m.claimed, key)
	delete(m.key, key)
	delete(m.all, uid)
	return uid, known
}
