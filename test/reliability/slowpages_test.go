/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A page of a hundred agents takes longer than a request may, because a team has large configurations. Smaller pages come in time, and the
// other teams' Agents are registered.
func TestList_LargePagesTakeTooLong_SmallerOnesAreRead(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	for n := range 60 {
		w.Register("large", "machine-"+strconv.Itoa(n))
	}
	w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Route: cloudtest.RouteList, Latency: time.Minute,
		Match: func(r *http.Request) bool { n, _ := strconv.Atoi(r.URL.Query().Get("last")); return n > 25 },
	})
	w.Start()
	w.Ready(w.Apply("web"))
}
