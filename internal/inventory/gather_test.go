/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// tally counts the pages of an API.
type tally struct {
	pages
	requests atomic.Int32
}

func (c *tally) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	return c.pages.RoundTrip(r)
}

// gathers waits for a list that is later than now, as an Agent does that comes back when it is asked to, and returns how long it held a
// worker at most.
func gathers(t *testing.T, p *Inventory) (held time.Duration) {
	for after := time.Now(); ; {
		began := time.Now()
		err := Gather(t.Context(), p, after)
		held = max(held, time.Since(began))
		if err == nil {
			if p.snapshot.startedAt.Before(after) {
				t.Error("the list is older than the Agent")
			}
			return held
		}
		f, ok := fault.As(err)
		if !ok || !f.Quiet {
			t.Error(err)
			return held
		}
		<-time.After(f.RetryAfter)
	}
}

// Agents come one after the other, each later than the last list: some lists serve them all, and none waits for long.
func TestGather_ACrowd_SharesLists(t *testing.T) {
	for _, row := range []struct {
		name              string
		agents            int
		every             time.Duration
		pages             int
		perSecond         float64 // pages
		mostLists, within int     // seconds
	}{
		{"1,000 at once", 1000, time.Millisecond, 10, 100, 4, 7},
		{"1,000 in 20 seconds", 1000, 20 * time.Millisecond, 10, 100, 7, 7},
		{"all the time", 6000, 10 * time.Millisecond, 1, 100, 16, 7},
		{"all the time, and each list takes ten seconds", 6000, 10 * time.Millisecond, 100, 10, 7, 35},
		{"one after a long time", 1, time.Hour, 10, 100, 2, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &tally{pages: pages(row.pages)}
				p := reading(t, service, row.perSecond)
				p.Warm()
				elapse(time.Duration(row.pages)*time.Second + row.every)
				var all sync.WaitGroup
				var mu sync.Mutex
				longest := time.Duration(0)
				for range row.agents {
					<-time.After(row.every)
					all.Go(func() {
						began := time.Now()
						if held := gathers(t, p); held > patience {
							t.Errorf("it holds a worker for %s", held)
						}
						mu.Lock()
						defer mu.Unlock()
						longest = max(longest, time.Since(began))
					})
				}
				all.Wait()
				lists := int(service.requests.Load()) / row.pages
				if lists > row.mostLists || longest > time.Duration(row.within)*time.Second {
					t.Errorf("%d lists, the longest wait is %s", lists, longest)
				}
			})
		})
	}
}
