/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"strings"
	"sync"
)

// inFlight are the registrations that wait for their response. Something between here and the API may mix up the responses to two of
// them, and only the name in a response shows that: so those of one name at one URL have to be noticed. Lost with the process, like the
// responses.
type inFlight struct {
	mu   sync.Mutex
	sent map[sentAs]*overlapping
}

// sentAs is what two registrations have in common whose responses may be mixed up unnoticed.
type sentAs struct{ url, name string }

// overlapping are registrations of one name that were in flight without a gap.
type overlapping struct {
	waiting int
	met     bool // There were two at the same moment, so each met another.
}

// begin records that a registration is sent. alone, to be called with its response, ends it and reports whether no other
// registration of that name was in flight meanwhile.
func (f *inFlight) begin(url, name string) (alone func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := sentAs{url, strings.ToLower(name)}
	c := f.sent[key]
	if c == nil {
		c = &overlapping{}
		if f.sent == nil {
			f.sent = map[sentAs]*overlapping{}
		}
		f.sent[key] = c
	}
	c.waiting++
	c.met = c.met || c.waiting > 1
	return func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		if c.waiting--; c.waiting == 0 {
			delete(f.sent, key)
		}
		return !c.met
	}
}
