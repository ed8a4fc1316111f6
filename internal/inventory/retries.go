/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"cmp"
	"context"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// mostFailures is how often in a row a page may fail before the list does.
	mostFailures = 5
	// longestBackoff is the longest time to the next request after a failed page, unless the API asks for a longer one.
	longestBackoff = 15 * time.Second
	// pagePatience is how long after its first request a page may still be requested. What a list has read takes memory meanwhile.
	pagePatience = 5 * time.Minute
)

// Delays are the times before a page is requested again, and between lists.
type Delays struct {
	// Backoff after its first failure; default 1 s.
	Backoff time.Duration
	// Empty is the time after a page that is empty although agents are known; default 5 s.
	Empty time.Duration
	// Between is the time after a list before one begins that only Agents need which gather; default 5 s.
	Between time.Duration
}

func (d Delays) withDefaults() Delays {
	return Delays{
		Backoff: cmp.Or(d.Backoff, time.Second), Empty: cmp.Or(d.Empty, 5*time.Second), Between: cmp.Or(d.Between, 5*time.Second),
	}
}

// retries decide whether a page is requested again. If it failed, the pages before it stay valid, and a long list that began again after
// each failure would never end. If it is empty, an index that is not filled yet, or another backend, may have responded. All times are of
// the real clock, as the waits are.
type retries struct {
	first    bool        // page of the list: nothing is lost if the list fails
	known    func() bool // agents exist, whatever the page says
	delays   Delays
	began    time.Time
	failures int
	empty    bool // it was empty before
}

// after returns how long to wait before the page is requested again; false if its outcome counts.
func (r *retries) after(page *fetched) (wait time.Duration, again bool) {
	switch {
	case page.err != nil:
		return r.failed(page.err)
	case r.empty || page.Before != "" || !page.Empty():
		return 0, false
	}
	r.empty = true
	return r.delays.Empty, !r.first || r.known()
}

// failed returns how long to wait after a failure; false if the list fails.
func (r *retries) failed(err error) (wait time.Duration, again bool) {
	if r.first {
		return 0, false
	}
	if f, classed := fault.As(err); classed {
		// Nothing was requested. Others may have caused that, so it does not count.
		wait, again = f.RetryAfter, f.Code == fault.Throttled || f.Code == fault.Unreachable
	} else {
		r.failures++
		wait, again = fault.Backoff(r.failures, r.delays.Backoff, longestBackoff), r.failures < mostFailures && passes(err)
		if e, ours := cloud.AsError(err); ours {
			wait = max(wait, e.RetryAfter)
		}
	}
	return wait, again && time.Since(r.began)+wait < pagePatience
}

// passes reports whether the same request may succeed later. Any other 4xx may be about the cursor: the next list begins with the first
// page.
func passes(err error) bool {
	e, ours := cloud.AsError(err)
	if !ours {
		return false
	}
	switch e.Reason {
	case cloud.ReasonUnavailable, cloud.ReasonRateLimited, cloud.ReasonTimeout, cloud.ReasonNetwork, cloud.ReasonInvalidResponse:
		return true
	default:
		return false
	}
}

// fetch gets the page at a cursor. It requests a smaller one where a page of large configurations is too long for a response, or takes too
// long, and the same one again where that may help.
func (r *reader) fetch(ctx context.Context, before string) *fetched {
	tries := retries{first: before == "", known: r.known, delays: r.delays, began: time.Now()}
	for {
		page := &fetched{size: r.pageSize()}
		page.RawPage, page.learn, page.err = r.source.Fetch(ctx, cloud.ListOptions{Last: page.size, Before: before})
		if ctx.Err() != nil {
			return page
		}
		if r.paged(page.size, tries.first, page) {
			continue
		}
		wait, again := tries.after(page)
		r.meet(page.err)
		if !again {
			return page
		}
		if page.err == nil {
			page.Drop()
		}
		r.wait(ctx, wait)
	}
}

// meet records the outcome of the newest page.
func (r *reader) meet(trouble error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = trouble
}

// troubled returns why a list in progress waits; nil if it does not.
func (r *reader) troubled() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.trouble
}

// wait sleeps, unless the list is canceled. The time does not count as one of the list.
func (r *reader) wait(ctx context.Context, d time.Duration) {
	began := time.Now()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waited += time.Since(began)
}

// pauses is how long the list waited between its pages.
func (r *reader) pauses() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.waited
}

// timed reads all pages, and returns how long that took without the waits.
func (r *reader) timed(ctx context.Context, taken *Charge) (entries []Entry, took time.Duration, err error) {
	r.mu.Lock()
	r.waited, r.trouble = 0, nil
	r.mu.Unlock()
	began := time.Now()
	entries, err = r.all(ctx, taken)
	r.mu.Lock()
	defer r.mu.Unlock()
	return entries, time.Since(began) - r.waited, err
}
