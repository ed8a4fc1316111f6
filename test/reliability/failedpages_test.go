/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// throttled is the response of an API that asks to wait for a second.
var throttled = cloudtest.Fault{
	Status: http.StatusTooManyRequests, Body: `{"error":"too many requests"}`, Header: http.Header{"Retry-After": {"1"}},
}

// Each tenth page fails, and a list has 13. The list goes on with the page that failed: begun again, it would never end.
func TestList_EachTenthPageFails_NewAgentsAreRegistered(t *testing.T) {
	for name, fault := range map[string]cloudtest.Fault{
		"unavailable": {Status: http.StatusServiceUnavailable, Body: `{"error":"unavailable"}`},
		"throttled":   throttled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{PageSize: 10}, harness.Idle)
			for n := range 130 {
				w.Register("other", fmt.Sprint("machine-", n))
			}
			var pages atomic.Int64
			fault.Method, fault.Route = http.MethodGet, cloudtest.RouteList
			fault.Match = func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" && pages.Add(1)%10 == 0 }
			w.Cloud.Inject(fault)
			w.Start()
			w.Ready(w.Apply("web"))
		})
	}
}

// The API allows half of the requests that the CloudProject's rateLimit does, and asks to wait beyond that.
func TestList_APIAllowsALowerRate_NewAgentsAreRegistered(t *testing.T) {
	t.Parallel()
	const perSecond, burst = 5, 10
	w := harness.New(t, cloudtest.Settings{PageSize: 10}, harness.Idle, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.RateLimit = &v1alpha1.RateLimit{RequestsPerSecond: new(int32(2 * perSecond)), Burst: new(int32(2 * burst))}
	})
	for n := range 300 {
		w.Register("other", fmt.Sprint("machine-", n))
	}
	bucket, last := float64(burst), time.Now()
	fault := throttled
	fault.Match = func(*http.Request) bool { // Called with the server's lock held.
		now := time.Now()
		bucket = min(burst, bucket+perSecond*now.Sub(last).Seconds())
		if last = now; bucket < 1 {
			return true
		}
		bucket--
		return false
	}
	w.Cloud.Inject(fault)
	w.Start()
	w.Ready(w.Apply("web"))
}
