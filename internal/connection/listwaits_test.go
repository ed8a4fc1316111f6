/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A page fails while no request is allowed: its response asks to wait, or others get none meanwhile. The list requests the page again once
// that is allowed, and goes on.
func TestAList_PageFailsAndNoRequestIsAllowed_WaitsAndGoesOn(t *testing.T) {
	for name, row := range map[string]struct {
		fault  cloudtest.Fault
		opened bool // the breaker
	}{
		"the API asks to wait":     {cloudtest.Fault{Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"1"}}}, false},
		"the API does not respond": {cloudtest.Fault{Status: http.StatusBadGateway}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{PageSize: 1})
			id := w.register("a")
			w.register("b")
			entered, release := make(chan struct{}, 1), make(chan struct{})
			row.fault.Route, row.fault.Times, row.fault.Entered, row.fault.Block = cloudtest.RouteList, 1, entered, release
			row.fault.Match = func(r *http.Request) bool { return r.URL.Query().Has("before") }
			w.cloud.Inject(row.fault)
			w.clock.Step(time.Second)
			start := w.clock.Now()
			var lister sync.WaitGroup
			lister.Go(func() { w.expectFound("a", start.Add(-1), id) })
			<-entered
			if row.opened {
				repair := w.cloud.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Cut: cloudtest.CutBefore})
				for range 5 {
					_, _ = w.Get(t.Context(), somebody, id)
				}
				repair()
			}
			close(release)
			w.eventually("that no request is allowed", func() bool {
				p, err := w.Acquire(somebody)
				if err == nil {
					p.Release()
				}
				return err != nil || row.opened // The breaker may have let a probe pass already.
			})
			w.clock.Step(time.Minute)
			lister.Wait()
			w.lists(3)
		})
	}
}
