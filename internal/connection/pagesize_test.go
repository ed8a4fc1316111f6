/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const (
	large = 1 << 20 // of which six fit into a response, and not twelve
	huge  = -large  // which is as long, but of characters that take six bytes in JSON: two are too large together
)

// sized registers an agent past the Project with a configuration of so many bytes.
func (w *world) sized(c *cloud.Client, i, size int) string {
	w.Helper()
	r := registration(fmt.Sprint("m-", i))
	r.RawConfig = strings.Repeat("x", max(size, 0)) + strings.Repeat("<", max(-size, 0))
	made, err := c.Register(w.Context(), r)
	noError(w, err)
	return made.ID
}

func (w *world) aside() *cloud.Client {
	w.Helper()
	base, err := url.Parse(w.cp.Spec.URL)
	noError(w, err)
	c, err := cloud.New(cloud.Config{BaseURL: base, Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: w.token}})
	noError(w, err)
	return c
}

// read has one more list read, and returns how many pages it took.
func (w *world) read() int {
	w.Helper()
	w.cloud.ResetRequests()
	w.clock.Step(time.Minute)
	after := w.clock.Now().Add(-1)
	w.eventually("the list", func() bool {
		_, _, err := w.Lacks(w.Context(), otherID, after)
		return err == nil
	})
	return w.cloud.Count(http.MethodGet, cloudtest.RouteList)
}

func TestPageSize_AfterPagesThatWereTooLarge_Grows(t *testing.T) {
	for _, row := range []struct {
		name   string
		agents int
		size   func(int) int // of the configurations
		most   []int         // pages of each list in a row
		fixed  []int         // and after the large ones were deleted
	}{
		{"all small", 1000, func(int) int { return 1 }, []int{10, 10}, nil},
		// Three that are too large, two of a huge agent each, then 2, 4, 8 … agents: about ten more than the ten before.
		{"two huge ones among small ones", 1000, func(i int) int {
			if i == 500 || i == 501 {
				return huge
			}
			return 1
		}, []int{22, 22, 22}, []int{10, 10}},
		{"the newest are huge", 1000, func(i int) int {
			if i >= 998 {
				return huge
			}
			return 1
		}, []int{22, 22}, []int{16, 10}},
		// Six of them fit, so that three pages are needed; hardly a page fails later.
		{"all large", 13, func(int) int { return large }, []int{4, 4, 4, 3, 4, 3, 3, 3}, []int{2}}, // Then the list is empty, which is confirmed.
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			w.most(2000)
			c := w.aside()
			var heavy []string
			for i := range row.agents {
				if id := w.sized(c, i, row.size(i)); row.size(i) != 1 {
					heavy = append(heavy, id)
				}
			}
			for i, most := range row.most {
				if got := w.read(); got > most {
					t.Errorf("list %d took %d pages, want %d at most", i+1, got, most)
				}
			}
			for _, id := range heavy {
				w.cloud.Remove(id)
			}
			for i, most := range row.fixed {
				if got := w.read(); got > most {
					t.Errorf("list %d without the large took %d pages, want %d at most", i+1, got, most)
				}
			}
		})
	}
}
