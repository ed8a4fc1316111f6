/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/time/rate"
)

// ending is an API with so many agents.
type ending struct {
	agents   int
	links    bool // its pages name the next one
	whole    bool // it lists all, whatever it is asked for
	requests int
}

func (e *ending) RoundTrip(r *http.Request) (*http.Response, error) {
	e.requests++
	last, _ := strconv.Atoi(r.URL.Query().Get("last"))
	from, _ := strconv.Atoi(r.URL.Query().Get("before"))
	to := min(from+last, e.agents)
	if e.whole {
		to = e.agents
	}
	header := http.Header{}
	if e.links && to < e.agents {
		header.Set("Link", fmt.Sprintf(`</agents?before=%d>; rel="next"`, to))
	}
	var items []string
	for n := from; n < to; n++ {
		items = append(items, fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","machineID":"m","type":"fluentbit"}`, n))
	}
	body := "[" + strings.Join(items, ",") + "]"
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// One full page without a Link header is the whole list only if a smaller page has the header.
func TestAll_AFullPageWithoutLink_IsConfirmed(t *testing.T) {
	for name, row := range map[string]struct {
		ending
		requests int
		fails    bool
	}{
		"exactly a page":                 {ending{agents: pageSize, links: true}, 2, false},
		"less than a page":               {ending{agents: pageSize - 1, links: true}, 1, false},
		"more than a page":               {ending{agents: 2 * pageSize, links: true}, 2, false},
		"all at once":                    {ending{agents: pageSize, whole: true}, 2, false},
		"more at once":                   {ending{agents: 3 * pageSize, whole: true}, 1, false},
		"no links, less than a page":     {ending{agents: pageSize - 1}, 1, false},
		"no links, and more than a page": {ending{agents: 2 * pageSize}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			api := row.ending
			entries, err := reading(t, &api, float64(rate.Inf)).reader.all(t.Context(), nil)
			if (err != nil) != row.fails || !row.fails && len(entries) != row.agents || api.requests != row.requests {
				t.Errorf("%d agents with %d requests, %v", len(entries), api.requests, err)
			}
		})
	}
}
