/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package fault

import (
	"math/rand/v2"
	"time"
)

// Backoff is the time until the next try after this many failures in a row: it doubles from least up to
// most, and is spread over its upper half, so that those who failed together do not come back together.
func Backoff(failures int, least, most time.Duration) time.Duration {
	d := most
	if failures < 16 {
		d = min(least<<max(failures-1, 0), most)
	}
	return d/2 + rand.N(d/2+1)
}
