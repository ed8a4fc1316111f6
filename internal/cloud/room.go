/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
)

// smallBody is how much of a response is received without a place in the Room: what fits into a buffer of 512 KiB that does not grow.
const smallBody = 512<<10 - bytes.MinRead - 1

// ErrNoRoom is wrapped by the error of a response that is large, and was not read because others took too long.
var ErrNoRoom = errors.New("too many large responses at once")

// Room bounds how many responses a process holds at once that are large, or that are being read. Its places are shared as workers are: an
// owner gets another place while it has none, or fewer than are free.
type Room struct {
	places int

	mu      sync.Mutex
	held    int // by all owners
	owners  map[string]int
	waiting []*guest // in order of arrival
}

// guest waits for a place.
type guest struct {
	owner string
	ready chan struct{} // closed once it has the place
}

// NewRoom returns a Room with so many places.
func NewRoom(places int) *Room { return &Room{places: places, owners: map[string]int{}} }

// enter waits for a place, and returns how to leave it.
func (r *Room) enter(ctx context.Context, owner string) (leave func(), err error) {
	g := &guest{owner: owner, ready: make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, g)
	r.fill()
	r.mu.Unlock()
	leave = sync.OnceFunc(func() { r.leave(g) })
	select {
	case <-g.ready:
		return leave, nil
	case <-ctx.Done():
		leave()
		return nil, ErrNoRoom
	}
}

func (r *Room) leave(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at := slices.Index(r.waiting, g); at >= 0 {
		r.waiting = slices.Delete(r.waiting, at, at+1)
		return
	}
	r.held--
	if r.owners[g.owner]--; r.owners[g.owner] == 0 {
		delete(r.owners, g.owner)
	}
	r.fill()
}

// fill gives the free places to the owners with the fewest, and of those to whoever waits longest. The caller holds the lock.
func (r *Room) fill() {
	for {
		next := -1
		for i, g := range r.waiting {
			held := r.owners[g.owner]
			may := r.held < r.places && (held == 0 || held < r.places-r.held)
			if may && (next < 0 || held < r.owners[r.waiting[next].owner]) {
				next = i
			}
		}
		if next < 0 {
			return
		}
		g := r.waiting[next]
		r.waiting = slices.Delete(r.waiting, next, next+1)
		r.owners[g.owner]++
		r.held++
		close(g.ready)
	}
}
