/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package ratelimit bounds the request rate of a project. Workers never sleep for
// it: a reservation is a retry time. Namespaces take turns.
package ratelimit

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// keptBack is the unused share of the burst: one request in keptBack.
const keptBack = 4

const (
	// longWait is the wait from which on a caller is asked to retry at half time, halvings times at most: the line may
	// have become shorter by then.
	longWait = 30 * time.Second
	halvings = 2
	// lineMemory is how long a reservation is kept after its retry time.
	lineMemory = 2 * time.Minute
	// sweepInterval is the shortest time between two searches for expired reservations.
	sweepInterval = 10 * time.Second
	// mostLate bounds how much longer a reservation is expected after it returned late: a request holds a worker so long.
	mostLate = 15 * time.Second
	// endless is longer than any wait.
	endless = 1000 * time.Hour
)

// Limiter is the rate limiter of a CloudProject. Requests take tokens from a bucket that fills at the rate, up to the burst.
//
// Take never sleeps: a caller that finds the bucket empty joins the line and gets a retry time. In the line, namespaces
// take turns, a list of remote agents among them, and within a namespace the first come is the first served. A reservation
// ends when its Agent is deleted or does not return within two minutes of its retry time; those behind move up. So the
// retry time is not a guaranteed permit: it is computed again at each try, and a caller with a long wait retries at half
// time, in case others left.
//
// A caller on time gets a token if there is one for each reservation ahead that is due now, too; a caller that is early, or
// new, only if there is one for each reservation ahead. Reservations that are late by more than the time to fill the bucket
// do not count: no token is wasted on them, and they are served first when they return. If the first of a namespace finds no
// token then, it is expected for as much longer the next time, up to mostLate.
type Limiter struct {
	mu      sync.Mutex
	limiter *rate.Limiter
	line    line
	swept   time.Time
	// waits is called with the wait of each reservation.
	waits func(time.Duration)
}

// New returns a Limiter without a limit. waits is called with the wait of each reservation.
func New(waits func(time.Duration)) *Limiter {
	return &Limiter{limiter: rate.NewLimiter(rate.Inf, 1), line: newLine(), waits: waits}
}

// Set changes the limit. A change drops all reservations.
func (b *Limiter) Set(limit *v1alpha1.RateLimit) {
	perSecond, burst := rate.Inf, 1
	if limit != nil && limit.RequestsPerSecond != nil && *limit.RequestsPerSecond > 0 {
		perSecond = rate.Limit(*limit.RequestsPerSecond)
	}
	if limit != nil && limit.Burst != nil {
		// The API has its own limit, and requests reach it less evenly than they leave.
		burst = int(*limit.Burst - *limit.Burst/keptBack)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() != perSecond || b.limiter.Burst() != burst {
		b.limiter = rate.NewLimiter(perSecond, burst)
		b.line = newLine()
	}
}

// Spare reports whether there is a token that no reservation needs.
func (b *Limiter) Spare(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.TokensAt(now) < 1 {
		return false
	}
	for _, w := range b.line.waiting {
		if !w.retryAt.Before(now.Add(-b.fills())) {
			return false
		}
	}
	return true
}

// gap is the time between two requests at the rate; fills is the time in which an empty bucket fills.
func (b *Limiter) gap() time.Duration {
	return time.Duration(float64(time.Second) / float64(b.limiter.Limit()))
}

func (b *Limiter) fills() time.Duration { return time.Duration(b.limiter.Burst()) * b.gap() }

// Take returns zero if a request is allowed now, else the time until the retry of the reservation that it makes.
func (b *Limiter) Take(who Caller, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.limiter.Limit() == rate.Inf {
		return 0
	}
	if now.Sub(b.swept) >= sweepInterval {
		b.line.sweep(now.Add(-lineMemory))
		b.swept = now
	}
	w, kept := b.line.waiting[who.UID]
	if !kept {
		w = b.line.join(who)
		w.retryAt = now.Add(endless)
	}
	if b.passes(w, now) && b.limiter.AllowN(now, 1) {
		b.line.serve(w)
		return 0
	}
	if late := now.Sub(w.retryAt); kept && late > w.late {
		w.late = min(late, mostLate)
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
	w.retryAt = now.Add(wait)
	return wait
}

// passes reports whether the bucket has a token for a waiter, beside one for each reservation ahead that is due.
func (b *Limiter) passes(w *waiter, now time.Time) bool {
	free := int(b.limiter.TokensAt(now))
	if free < 1 {
		return false
	}
	until := now.Add(endless)
	if !w.retryAt.After(now) {
		until = now.Add(b.gap())
	}
	return free > b.line.coming(w, now.Add(-b.fills()), until)
}

// Leave drops the reservation of a caller that will not return.
func (b *Limiter) Leave(who types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.line.leave(who)
}

// List is the caller of the pages of lists, which all namespaces share. It takes turns with them: a list of many pages would
// otherwise stop their requests for as long as it takes, and any of them may need a new one.
var List = Caller{UID: "list"}

// Wait sleeps until a request is allowed. Not for workers.
func (b *Limiter) Wait(ctx context.Context, who Caller) error {
	for {
		wait := b.Take(who, time.Now())
		if wait == 0 {
			return nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			b.Leave(who.UID)
			return ctx.Err()
		}
	}
}
