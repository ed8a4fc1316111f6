/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// keptBack says that one in so many calls of the burst is not used.
const keptBack = 4

// budget is the rate limit of a CloudProject. Nobody sleeps for it: who finds it spent gets a place in line,
// and is told when to come back. A place promises a time, not a call: those who come late all at once still
// pass at the rate.
type budget struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	places  map[types.UID]spot
	end     time.Time // of the line
	late    time.Time // the end of the line of those for whom nothing was left at their time
	// waits is told of everybody who has to wait, once for each place.
	waits func(time.Duration)
}

// spot is a place in line: when to come back, and in which of the two lines.
type spot struct {
	at   time.Time
	late bool
}

func newBudget(waits func(time.Duration)) *budget {
	return &budget{limiter: rate.NewLimiter(rate.Inf, 1), places: map[types.UID]spot{}, waits: waits}
}

func (b *budget) set(limit *v1alpha1.RateLimit) {
	perSecond, burst := rate.Inf, 1
	if limit != nil && limit.RequestsPerSecond != nil && *limit.RequestsPerSecond > 0 {
		perSecond = rate.Limit(*limit.RequestsPerSecond)
	}
	if limit != nil && limit.Burst != nil {
		// The service counts, too, and calls reach it less evenly than they are admitted here.
		burst = int(*limit.Burst - *limit.Burst/keptBack)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() != perSecond || b.limiter.Burst() != burst {
		b.limiter = rate.NewLimiter(perSecond, burst)
		clear(b.places)
		b.end, b.late = time.Time{}, time.Time{}
	}
}

// spare reports whether a call could be made now without a place in line.
func (b *budget) spare(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.end.After(now) && b.limiter.TokensAt(now) >= 1
}

// take returns zero if a call may be made now, else how long to wait for the place that is then kept.
func (b *budget) take(who types.UID, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	place, kept := b.places[who]
	switch wait := place.at.Sub(now); {
	case kept && wait > 0:
		return wait
	case (kept || !b.end.After(now)) && b.limiter.AllowN(now, 1):
		delete(b.places, who)
		return 0
	}
	// Others who were late took what there was: those come back one after the other, not all at once.
	end := &b.late
	if !kept {
		end = &b.end
	}
	at := now.Add(b.gap())
	if end.After(now) {
		at = end.Add(b.gap())
	}
	*end = at
	b.places[who] = spot{at: at, late: kept}
	b.waits(at.Sub(now))
	return at.Sub(now)
}

// gap is the time between two places in line.
func (b *budget) gap() time.Duration {
	return time.Duration(float64(time.Second) / float64(b.limiter.Limit()))
}

// leave gives up a kept place, for somebody who will not come back. A line whose last one leaves ends with the last one
// who stays: else whoever creates and deletes Agents all the time would lengthen it for the others without end.
func (b *budget) leave(who types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	left, kept := b.places[who]
	delete(b.places, who)
	end := &b.end
	if left.late {
		end = &b.late
	}
	if !kept || left.at.Before(*end) {
		return
	}
	*end = time.Time{}
	for _, place := range b.places {
		if place.late == left.late && place.at.After(*end) {
			*end = place.at
		}
	}
}

// wait sleeps until a call may be made. Not for workers.
func (b *budget) wait(ctx context.Context) error {
	b.mu.Lock()
	limiter := b.limiter
	b.mu.Unlock()
	began := time.Now()
	err := limiter.Wait(ctx)
	if waited := time.Since(began); waited > time.Millisecond {
		b.waits(waited)
	}
	return err
}
