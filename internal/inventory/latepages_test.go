/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lateAPI lists so many agents, and does not respond in time to a request of more than so many that includes one of the heavy agents.
type lateAPI struct {
	agents, most     int
	heavyAt, heavyTo int
	gateway          bool // responds in place of the API
	sizes            []int
}

func (l *lateAPI) RoundTrip(r *http.Request) (*http.Response, error) {
	query := r.URL.Query()
	at, _ := strconv.Atoi(query.Get("before"))
	size, _ := strconv.Atoi(query.Get("last"))
	l.sizes = append(l.sizes, size)
	to := min(at+size, l.agents)
	if size > l.most && at < l.heavyTo && to > l.heavyAt {
		if !l.gateway {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return &http.Response{StatusCode: http.StatusGatewayTimeout, Header: http.Header{}, Body: http.NoBody}, nil
	}
	header := http.Header{}
	if to < l.agents {
		header.Set("Link", fmt.Sprintf(`</agents?before=%d>; rel="next"`, to))
	}
	var agents []string
	for n := at; n < to; n++ {
		agents = append(agents, fmt.Sprintf(`{"id":"00000000-0000-4000-8000-%012d","machineID":"%d","type":"t"}`, n, n))
	}
	body := "[" + strings.Join(agents, ",") + "]"
	return &http.Response{StatusCode: http.StatusOK, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

// A page that does not come in time is requested again with fewer agents. If it is the first, the API may respond to nothing: each
// list then costs one request, as any that fails.
func TestPageSize_APageTakesTooLong_SmallerOnesAreRequested(t *testing.T) {
	for _, row := range []struct {
		name  string
		api   *lateAPI
		lists [][]int // the sizes of the pages of each list
	}{
		{"the first page", &lateAPI{agents: 60, most: 25, heavyTo: 60}, [][]int{{100}, {25, 50, 25, 25}, {25, 50, 25, 25}}},
		{"by a gateway's word", &lateAPI{agents: 60, most: 25, heavyTo: 60, gateway: true}, [][]int{{100}, {25, 50, 25, 25}}},
		{"the third page", &lateAPI{agents: 400, most: 25, heavyAt: 200, heavyTo: 225}, [][]int{{100, 100, 100, 25, 50, 100, 100}}},
		{"none comes", &lateAPI{agents: 60, most: -1, heavyTo: 60}, [][]int{{100}, {25}, {6}, {1}, {1}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := reading(t, row.api, 1000)
				for i, want := range row.lists {
					row.api.sizes = nil
					_, _ = p.reader.all(t.Context(), nil)
					if got := row.api.sizes; !slices.Equal(got, want) {
						t.Errorf("list %d requested %v, want %v", i+1, got, want)
					}
				}
				<-time.After(time.Minute)
			})
		})
	}
}
