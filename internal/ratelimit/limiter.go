/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package ratelimit bounds the requests of a project. Nobody sleeps for it: a
// reservation says when to come back. Namespaces take turns.
package ratelimit

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

const (
	// longWait is from when on somebody is told to come back at half time, halvings times at most: the line may have
	// become shorter until then, but nobody shall ask all the time.
	longWait = 30 * time.Second
	halvings = 2
	// lineMemory is how long after their time somebody who does not come back keeps their place.
	lineMemory = 2 * time.Minute
	// sweepRest is how often the line is searched for them.
	sweepRest = 10 * time.Second
	// endless is a time that nobody is told to wait for.
	endless = 1000 * time.Hour
)

// Limiter is the rate limit of a CloudProject. Calls are paid for from a bucket that fills at the rate, up to the burst.
//
// Nobody sleeps for it: who finds the bucket empty joins the line, and is told when their turn will come. In the line
// the namespaces take turns, and within a namespace the first to come is the first served. Who leaves, because its
// Agent was deleted, frees the place, and those behind move up; so does who does not come back within two minutes of
// their time. Therefore the time that is told is no promise: it is worked out anew whenever somebody asks, and who has
// long to wait is told to come at half time, in case others left.
//
// Who comes at their time is let through if the bucket has a call for each of those ahead, too, that are just about to
// come; who comes early, or for the first time, only if it has one for everybody ahead. Those ahead who are late, for
// longer than the bucket takes to fill, do not count: no call is lost for them, and they are the first when they come.
type Limiter struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	line    line
	swept   time.Time
	// waits is called for everybody who has to wait, once for each reservation.
	waits func(time.Duration)
}

// New returns a Limiter without a limit. waits is called for everybody who has to wait, once for each reservation.
func New(waits func(time.Duration)) *Limiter {
	return &Limiter{limiter: rate.NewLimiter(rate.Inf, 1), line: newLine(), waits: waits}
}

// Set changes the limit. Reservations are void then.
func (b *Limiter) Set(limit *v1alpha1.RateLimit) {
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
		b.line = newLine()
	}
}

// Spare reports whether a call could be made now that nobody in line waits for.
func (b *Limiter) Spare(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.TokensAt(now) < 1 {
		return false
	}
	for _, w := range b.line.waiting {
		if !w.told.Before(now.Add(-b.fills())) {
			return false
		}
	}
	return true
}

// gap is the time between two calls at the rate; fills is how long an empty bucket takes to be full.
func (b *Limiter) gap() time.Duration {
	return time.Duration(float64(time.Second) / float64(b.limiter.Limit()))
}

func (b *Limiter) fills() time.Duration { return time.Duration(b.limiter.Burst()) * b.gap() }

// Take returns zero if a call may be made now, else when to come back for the place in line that is then kept.
func (b *Limiter) Take(who Caller, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() == rate.Inf {
		return 0
	}
	if now.Sub(b.swept) >= sweepRest {
		b.line.sweep(now.Add(-lineMemory))
		b.swept = now
	}
	w, kept := b.line.waiting[who.UID]
	if !kept {
		w = b.line.join(who)
		w.told = now.Add(endless)
	}
	if b.passes(w, now) && b.limiter.AllowN(now, 1) {
		b.line.serve(w)
		return 0
	}
	missing := float64(b.line.rank(w)+1) - b.limiter.TokensAt(now)
	wait := max(time.Duration(missing*float64(b.gap())), time.Millisecond)
	if !kept {
		b.waits(wait)
	}
	if wait > longWait && w.halved < halvings {
		w.halved++
		wait /= 2
	}
	w.told = now.Add(wait)
	return wait
}

// passes reports whether the bucket has a call for somebody, beside those that are ahead and come.
func (b *Limiter) passes(w *waiter, now time.Time) bool {
	free := int(b.limiter.TokensAt(now))
	if free < 1 {
		return false
	}
	until := now.Add(endless)
	if !w.told.After(now) {
		until = now.Add(b.gap())
	}
	return free > b.line.coming(w, now.Add(-b.fills()), until)
}

// Leave gives up a kept place, for somebody who will not come back.
func (b *Limiter) Leave(who types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.leave(who)
}

// Wait sleeps until a call may be made. Not for workers.
func (b *Limiter) Wait(ctx context.Context) error {
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
