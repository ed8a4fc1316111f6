/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package ratelimit

import "time"

const (
	// turnTime is how long a reconciliation may send requests: a server that responds slowly, and always gives a reason for another
	// request, would hold a worker for ever.
	turnTime = 10 * time.Second
	// turnRequests is how many requests it may send in any case, so that a slow server delays an Agent, but does not stop it.
	turnRequests = 8
)

// Turn is the requests of one reconciliation, which one goroutine makes.
type Turn struct {
	began    time.Time
	requests int
}

// NewTurn begins now.
func NewTurn(now time.Time) *Turn { return &Turn{began: now} }

// Next reports whether another request may begin. Without a Turn, any may. It never ends a request in progress.
func (t *Turn) Next(now time.Time) bool {
	if t == nil {
		return true
	}
	if t.requests >= turnRequests && now.Sub(t.began) >= turnTime {
		return false
	}
	t.requests++
	return true
}
