/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package eventlimit bounds the Events that the operator writes about one object.
package eventlimit

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"k8s.io/utils/clock"
)

const (
	// burst is how many Events of an object are written in full after a quiet time, and every is how often one more is.
	burst = 20
	every = 2 * time.Minute
)

// Recorder writes the first Events of an object one by one. Where more come, those of one reason become one Event that
// counts them.
//
// client-go counts Events in one series only if they regard the same resource version of an object, and it has no other
// bound. An Agent that changes all the time has another version each time, so each of its Events would be an object of
// its own.
type Recorder struct {
	inner  events.EventRecorder
	scheme *runtime.Scheme
	clock  clock.PassiveClock

	mu    sync.Mutex
	full  map[types.UID]time.Time // when the object may have a whole burst again
	swept time.Time
}

// New returns a Recorder in front of another one.
func New(inner events.EventRecorder, scheme *runtime.Scheme, clock clock.PassiveClock) *Recorder {
	return &Recorder{inner: inner, scheme: scheme, clock: clock, full: map[types.UID]time.Time{}}
}

// Eventf implements events.EventRecorder.
func (r *Recorder) Eventf(regarding, related runtime.Object, eventType, reason, action, note string, args ...any) {
	object, err := meta.Accessor(regarding)
	if err == nil && !r.allows(object.GetUID()) {
		if ref, err := reference.GetReference(r.scheme, regarding); err == nil {
			ref.ResourceVersion = ""
			regarding = ref
		}
	}
	r.inner.Eventf(regarding, related, eventType, reason, action, note, args...)
}

// allows reports whether one more Event of an object is written in full.
func (r *Recorder) allows(uid types.UID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	if now.Sub(r.swept) >= every {
		for uid, full := range r.full {
			if !full.After(now) {
				delete(r.full, uid)
			}
		}
		r.swept = now
	}
	full := r.full[uid]
	if full.Before(now) {
		full = now
	}
	if full.Sub(now) > (burst-1)*every {
		return false
	}
	r.full[uid] = full.Add(every)
	return true
}
