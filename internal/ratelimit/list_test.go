/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package ratelimit_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// A list of many pages takes turns with the Agents: whoever may ask for new lists could stop all others for as long as each takes.
func TestWait_ForManyPages_TakesTurnsWithAgents(t *testing.T) {
	for _, limit := range []struct{ perSecond, burst int32 }{{10, 1}, {10, 20}, {2, 4}, {100, 3}} {
		t.Run(fmt.Sprintf("%d per second, burst %d", limit.perSecond, limit.burst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := ratelimit.New(func(time.Duration) {})
				b.Set(&v1alpha1.RateLimit{RequestsPerSecond: &limit.perSecond, Burst: &limit.burst})
				gap := time.Second / time.Duration(limit.perSecond)
				const pages = 300
				listed, began := make(chan time.Duration, 1), time.Now()
				go func() {
					for range pages {
						if err := b.Wait(t.Context(), ratelimit.List); err != nil {
							t.Error(err)
						}
						<-time.After(gap / 5) // The response.
					}
					listed <- time.Since(began)
				}()
				<-time.After(30 * gap)
				for range 10 {
					if waited := served(b, gap); waited > 6*gap {
						t.Errorf("an Agent waits %s beside a list, want at most %s", waited, 6*gap)
					}
				}
				if took := <-listed; took > (pages+40)*gap {
					t.Errorf("the list takes %s beside a few requests, want at most %s", took, (pages+40)*gap)
				}
			})
		})
	}
}

// served returns how long an Agent waits that returns whenever it is asked to, a little late.
func served(b *ratelimit.Limiter, gap time.Duration) time.Duration {
	began := time.Now()
	for {
		wait := b.Take(ratelimit.Caller{UID: "bystander", Namespace: "quiet"}, time.Now())
		if wait == 0 {
			return time.Since(began)
		}
		<-time.After(wait + gap/10)
	}
}
