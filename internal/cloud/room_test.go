/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// filling has an owner take places until it waits, and returns how many it took and how to leave them.
func filling(r *Room, owner string) (leave []func()) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		left, err := r.enter(ctx, owner)
		cancel()
		if err != nil {
			return leave
		}
		leave = append(leave, left)
	}
}

// An owner alone gets half of the places, and each further one half of the rest.
func TestRoom_Owners_ShareThePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom(8)
		for _, row := range []struct {
			owner string
			want  int
		}{{"a", 4}, {"b", 2}, {"c", 1}, {"d", 1}, {"e", 0}} {
			if got := len(filling(r, row.owner)); got != row.want {
				t.Errorf("%s got %d places, want %d", row.owner, got, row.want)
			}
		}
	})
}

// A place that is left goes to the owner with the fewest, and nobody waits for a place that is free.
func TestRoom_PlaceThatIsLeft_GoesToWhoHasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom(2)
		leave := append(filling(r, "a"), filling(r, "b")...)
		order := make(chan string, 4)
		for _, owner := range []string{"a", "a", "c"} {
			go func() {
				if left, err := r.enter(t.Context(), owner); err == nil {
					order <- owner
					left()
				}
			}()
			synctest.Wait()
		}
		leave[1]()
		if first := <-order; first != "c" {
			t.Errorf("the place went to %s", first)
		}
		leave[0]()
		<-order
		<-order
		if r.held != 0 || len(r.owners) != 0 || len(r.waiting) != 0 {
			t.Errorf("left over: %+v", r)
		}
	})
}

// Who waits too long leaves the queue.
func TestRoom_NoPlaceInTime_Fails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRoom(1)
		leave, _ := r.enter(t.Context(), "a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.enter(ctx, "b"); !errors.Is(err, ErrNoRoom) {
			t.Errorf("error %v", err)
		}
		leave()
		leave() // Once is enough.
		if r.held != 0 || len(r.waiting) != 0 {
			t.Errorf("left over: %+v", r)
		}
	})
}
