/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
)

// flood is what a namespace does at the limit, each time the clock moves.
type flood func(take func(agent int) bool, tick int)

// A namespace floods the limit of a project. The requests of a bystander, one after the other, wait a bounded time.
func TestTake_Bystander_WaitsABoundedTime(t *testing.T) {
	const agents, requests = 40, 6
	floods := map[string]flood{
		"all ask all the time": func(take func(int) bool, _ int) {
			for i := range agents {
				take(i)
			}
		},
		"new Agents each time, which never come back": func(take func(int) bool, tick int) {
			take(tick)
		},
		"late on purpose": func(take func(int) bool, tick int) {
			if tick%100 == 0 {
				for i := range agents {
					take(i)
				}
			}
		},
		"old ones early, and new ones": func(take func(int) bool, tick int) {
			for i := range agents / 2 {
				take(i)
			}
			take(agents + tick)
		},
	}
	for name, attack := range floods {
		for _, limit := range []struct{ perSecond, burst int32 }{{10, 1}, {10, 20}, {1, 1}, {100, 3}} {
			gap := time.Second / time.Duration(limit.perSecond)
			tick := gap / 10
			for _, late := range []time.Duration{0, gap / 2, 3 * gap, min(40*gap, 14*time.Second)} {
				t.Run(fmt.Sprintf("%s/%d per second, burst %d/late by %s", name, limit.perSecond, limit.burst, late), func(t *testing.T) {
					b := ratelimit.New(func(time.Duration) {})
					b.Set(&v1alpha1.RateLimit{RequestsPerSecond: &limit.perSecond, Burst: &limit.burst})
					now, ticks, worst := time.Unix(1_800_000_000, 0), 0, time.Duration(0)
					hostile := func(agent int) bool {
						return b.Take(ratelimit.Caller{UID: types.UID(fmt.Sprint("hostile-", agent)), Namespace: "hostile"}, now) == 0
					}
					step := func() {
						now, ticks = now.Add(tick), ticks+1
						attack(hostile, ticks)
					}
					for range 100 {
						step()
					}
					most := 6*gap + 3*late // Its turn, and as much longer as it is late itself.
					if name == "late on purpose" {
						most += 15 * time.Second // A reservation that is expected for long, in a bucket of one token.
					}
					for range requests {
						began := now
						for wait := b.Take(ratelimit.Caller{UID: "bystander", Namespace: "quiet"}, now); wait > 0; {
							for back := now.Add(wait + late); now.Before(back); {
								step()
							}
							if now.Sub(began) > most {
								break
							}
							wait = b.Take(ratelimit.Caller{UID: "bystander", Namespace: "quiet"}, now)
						}
						worst = max(worst, now.Sub(began))
					}
					if t.Logf("the worst wait is %s", worst); worst > most {
						t.Errorf("a request waits %s, want at most %s", worst, most)
					}
				})
			}
		}
	}
}
