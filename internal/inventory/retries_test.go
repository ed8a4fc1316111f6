/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// failing is an API of five pages, of which each but the first fails so many times before it comes.
type failing struct {
	pages
	times    int
	response http.Response // that fails, with this body
	body     string
	first    bool // the first page fails, too

	failed   map[string]int
	requests int
}

func (f *failing) RoundTrip(r *http.Request) (*http.Response, error) {
	f.requests++
	before := r.URL.Query().Get("before")
	if (before == "" && !f.first) || f.failed[before] >= f.times {
		return f.pages.RoundTrip(r)
	}
	f.failed[before]++
	if f.response.StatusCode == 0 {
		return nil, errors.New("connection reset")
	}
	failure := f.response
	failure.Body = io.NopCloser(strings.NewReader(f.body))
	return &failure, nil
}

// A page that fails is requested again, and the list goes on. If it fails again and again, or the failure will not pass, the list fails.
func TestAll_PagesFail_AreRequestedAgain(t *testing.T) {
	const refused = `{"error":"refused"}`
	asks := func(status int, after string) http.Response {
		return http.Response{StatusCode: status, Header: http.Header{"Retry-After": {after}}}
	}
	for name, row := range map[string]struct {
		failing
		requests int
		fails    bool
		least    time.Duration // that it takes
	}{
		"once":                         {failing: failing{times: 1, response: http.Response{StatusCode: 500}, body: refused}, requests: 9},
		"a gateway":                    {failing: failing{times: 1, response: http.Response{StatusCode: 502}}, requests: 9},
		"no connection":                {failing: failing{times: 1}, requests: 9},
		"a portal":                     {failing: failing{times: 1, response: http.Response{StatusCode: 302}, body: "<html>"}, requests: 9},
		"four times":                   {failing: failing{times: 4, response: http.Response{StatusCode: 500}, body: refused}, requests: 21},
		"five times":                   {failing: failing{times: 5, response: http.Response{StatusCode: 500}, body: refused}, requests: 6, fails: true},
		"the first page":               {failing: failing{times: 1, first: true, response: http.Response{StatusCode: 500}}, requests: 1, fails: true},
		"the API asks to wait":         {failing: failing{times: 1, response: asks(503, "40"), body: refused}, requests: 9, least: 160 * time.Second},
		"there are too many requests":  {failing: failing{times: 1, response: asks(429, "40"), body: refused}, requests: 9, least: 160 * time.Second},
		"the API asks to wait long":    {failing: failing{times: 1, response: asks(503, "3600"), body: refused}, requests: 2, fails: true},
		"the cursor is not taken":      {failing: failing{times: 1, response: http.Response{StatusCode: 422}, body: refused}, requests: 2, fails: true},
		"the cursor is gone":           {failing: failing{times: 1, response: http.Response{StatusCode: 410}, body: refused}, requests: 2, fails: true},
		"the token is rejected":        {failing: failing{times: 1, response: http.Response{StatusCode: 401}, body: refused}, requests: 2, fails: true},
		"the list is allowed no more ": {failing: failing{times: 1, response: http.Response{StatusCode: 403}, body: refused}, requests: 2, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := row.failing
				api.pages, api.failed = 5, map[string]int{}
				r, began := reading(t, &api, 1000).reader, time.Now()
				entries, busy, err := r.timed(t.Context(), nil)
				if (err != nil) != row.fails || !row.fails && len(entries) != 5 || api.requests != row.requests {
					t.Errorf("%d agents with %d requests, %v", len(entries), api.requests, err)
				}
				if took := time.Since(began); took < row.least || took > 4*pagePatience || busy > time.Second {
					t.Errorf("it took %s, %s of it without waits", took, busy)
				}
				api.failed, api.times = nil, 0
				if entries, err := r.all(t.Context(), nil); err != nil || len(entries) != 5 {
					t.Errorf("the next list has %d agents, %v", len(entries), err)
				}
				<-time.After(time.Minute)
			})
		})
	}
}

// gated is a project that is not usable from its third page on, for a time.
type gated struct {
	source
	pages int
	why   *fault.Error
	until time.Time
}

func (g *gated) Fetch(ctx context.Context, o cloud.ListOptions) (*cloud.RawPage, func(error), error) {
	if g.pages == 2 && time.Now().Before(g.until) {
		return nil, nil, g.why
	}
	g.pages++
	return g.source.Fetch(ctx, o)
}

// While the API asked to wait or does not respond, no page is requested, and the list goes on afterwards. It does not wait for credentials,
// nor for ever.
func TestAll_NoRequestIsAllowed_ListWaits(t *testing.T) {
	throttled := fault.Waitingf(v1alpha1.ReasonRateLimited, "wait").Coded(fault.Throttled).After(time.Second)
	for name, row := range map[string]struct {
		why   *fault.Error
		until time.Duration
		fails bool
		most  time.Duration // that it takes
	}{
		"throttled for a minute":      {throttled, time.Minute, false, 62 * time.Second},
		"unreachable for a minute":    {throttled.Coded(fault.Unreachable), time.Minute, false, 62 * time.Second},
		"throttled for an hour":       {throttled, time.Hour, true, pagePatience + time.Second},
		"credentials are rejected":    {throttled.Coded(fault.ProjectNotReady), time.Minute, true, time.Second},
		"the CloudProject is missing": {throttled.Coded(fault.ProjectMissing), time.Minute, true, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				p := reading(t, pages(5), 1000)
				p.reader.source = &gated{source: p.source.(source), why: row.why, until: began.Add(row.until)}
				entries, err := p.reader.all(t.Context(), nil)
				if (err != nil) != row.fails || !row.fails && len(entries) != 5 {
					t.Errorf("%d agents, %v", len(entries), err)
				}
				if took := time.Since(began); took > row.most {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// The resync interval, the confirmation of updates and the patience with the next list follow from how long a list took: what the API asked
// to wait between its pages is no part of that.
func TestAll_TheAPIAsksToWait_ListTookNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &failing{pages: 5, times: 1, failed: map[string]int{}, response: http.Response{
			StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"240"}},
		}}
		p := reading(t, api, 1000)
		p.Warm()
		<-time.After(time.Hour)
		if took := p.ListTook(); took == 0 || took > time.Minute {
			t.Errorf("a list of five pages, before four of which the API asked to wait four minutes, took %s", took)
		}
		if lasted := ListLasted(p); lasted < 16*time.Minute || lasted > 17*time.Minute { // How old a snapshot is when it is complete.
			t.Errorf("it lasted %s", lasted)
		}
	})
}

// A list that waits ends with its CloudProject.
func TestAll_Canceled_EndsDuringAWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &failing{pages: 5, times: 5, failed: map[string]int{}, response: http.Response{StatusCode: 500}}
		p := reading(t, api, 1000)
		p.Warm()
		elapse(100 * time.Millisecond)
		run := p.running
		p.Reset()
		synctest.Wait()
		select {
		case <-run.done:
		default:
			t.Error("it goes on")
		}
	})
}

// emptied is an API of five pages, of which one is empty so many times before it comes.
type emptied struct {
	pages
	at    string // its cursor
	times int

	requests int
}

func (e *emptied) RoundTrip(r *http.Request) (*http.Response, error) {
	e.requests++
	if e.times == 0 || r.URL.Query().Get("before") != e.at {
		return e.pages.RoundTrip(r)
	}
	e.times--
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(" [\n] "))}, nil
}

// An empty page is believed if a second one says the same, unless nothing contradicts it: a project without agents does not wait.
func TestAll_APageIsEmpty_IsConfirmedIfAgentsAreKnown(t *testing.T) {
	for name, row := range map[string]struct {
		emptied
		known    bool
		agents   int
		requests int
		waits    bool
	}{
		"a project without agents":     {emptied{times: 9}, false, 0, 1, false},
		"known, and one empty list":    {emptied{times: 1}, true, 5, 6, true},
		"known, and two empty lists":   {emptied{times: 2}, true, 0, 2, true},
		"the third page is empty":      {emptied{at: "2", times: 1}, false, 5, 6, true},
		"the list ends with two pages": {emptied{at: "2", times: 2}, false, 2, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api, began := row.emptied, time.Now()
				api.pages = 5
				p := reading(t, &api, 1000)
				p.reader.known = func() bool { return row.known }
				entries, busy, err := p.reader.timed(t.Context(), nil)
				if err != nil || len(entries) != row.agents || api.requests != row.requests {
					t.Errorf("%d agents with %d requests, %v", len(entries), api.requests, err)
				}
				if waited := time.Since(began) - busy; (waited == p.reader.delays.Empty) != row.waits || waited > time.Minute {
					t.Errorf("it waited %s", waited)
				}
				<-time.After(time.Minute)
			})
		})
	}
}
