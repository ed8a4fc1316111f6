/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fault

import (
	"math/rand/v2"
	"time"
)

// Backoff is BackoffAt with a random jitter.
func Backoff(failures int, least, most time.Duration) time.Duration {
	return BackoffAt(failures, least, most, rand.Float64())
}

// BackoffAt is the time until the next try after this many failures in a row: it grows twofold from least up to
// most, and jitter, from 0 to 1, spreads it over its upper half, so that those who failed together do not come back
// together.
func BackoffAt(failures int, least, most time.Duration, jitter float64) time.Duration {
	d := most
	if failures < 16 {
		d = min(least<<max(failures-1, 0), most)
	}
	return d/2 + time.Duration(jitter*float64(d/2+1))
}

// Spread adds up to a tenth, never less than asked for, so that those who wait do not come back as one.
func Spread(d time.Duration) time.Duration {
	return d + time.Duration(rand.Int64N(int64(d)/10+int64(10*time.Millisecond)))
}
