/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// slow is an API that is slow for each page, and records when a list starts and ends.
type slow struct {
	pages
	latency time.Duration

	mu           sync.Mutex
	begun, ended []time.Time
}

func (s *slow) RoundTrip(r *http.Request) (*http.Response, error) {
	first := r.URL.Query().Get("before") == ""
	if first {
		s.mu.Lock()
		s.begun = append(s.begun, time.Now())
		s.mu.Unlock()
	}
	<-time.After(s.latency)
	response, err := s.pages.RoundTrip(r)
	if response.Header.Get("Link") == "" {
		s.mu.Lock()
		s.ended = append(s.ended, time.Now())
		s.mu.Unlock()
	}
	return response, err
}

// need asks for a snapshot begun after a time until it is served, as a reconciler does: it retries when asked to.
func need(t *testing.T, p *Inventory, after time.Time) (served time.Duration) {
	started := time.Now()
	for {
		_, listed, err := p.Lacks(t.Context(), "any", after)
		if err == nil {
			if !listed {
				t.Error("nothing is listed")
			}
			return time.Since(started)
		}
		f, ok := fault.As(err)
		if !ok || f.RetryAfter <= 0 || !f.Quiet {
			t.Errorf("waiting for a snapshot fails with %v", err)
			return time.Since(started)
		}
		<-time.After(f.RetryAfter)
	}
}

// A namespace that constantly needs new snapshots delays another by at most two lists and the pauses around them,
// and leaves half of the time without lists.
func TestSnapshots_OneNamespaceAsksConstantly_OtherIsServedInTime(t *testing.T) {
	for _, row := range []struct {
		name    string
		pages   int
		latency time.Duration
	}{
		{"a short list", 2, 50 * time.Millisecond},
		{"a list that a worker waits for", 4, 500 * time.Millisecond},
		{"a list that no worker waits for", 20, time.Second},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				takes := time.Duration(row.pages) * row.latency
				service := &slow{pages: pages(row.pages), latency: row.latency}
				p := reading(t, service, 1000)
				end := time.Now().Add(10 * time.Minute)
				var asking sync.WaitGroup
				asking.Go(func() {
					for time.Now().Before(end) {
						asking.Go(func() { need(t, p, time.Now()) })
						<-time.After(300 * time.Millisecond)
					}
				})
				for time.Now().Before(end.Add(-5 * time.Minute)) {
					<-time.After(takes*7/3 + time.Second)
					// The list under way, its pause, and the next list; and up to a second until the caller is back.
					if waited := need(t, p, time.Now()); waited > 3*takes*12/10+2*time.Second {
						t.Errorf("the owner waits %s, a list takes %s", waited, takes)
					}
				}
				asking.Wait()
				p.Reset()
				for i := range len(service.begun) - 1 {
					if pause := service.begun[i+1].Sub(service.ended[i]); pause < takes {
						t.Fatalf("%s between lists that take %s", pause, takes)
					}
				}
				if most := int(11*time.Minute/takes/2) + 2; len(service.begun) > most {
					t.Errorf("%d lists, want %d at most", len(service.begun), most)
				}
			})
		})
	}
}
