/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A shutdown between the intent and its request would leave a registration in doubt, which delays the next leader. So the
// operator completes a registration that it has begun.
func TestAnIntentOutlastsAShutdown(t *testing.T) {
	for _, row := range []struct {
		name         string
		method, path string // of the request during which the shutdown comes
	}{
		{"while the intent is written", http.MethodPatch, "/agents/web"},
		{"while the Agent is read after that", http.MethodGet, "/agents/web"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			var halt sync.Once
			var written atomic.Bool
			cut := make(chan struct{})
			w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
				ours := strings.HasSuffix(r.URL.Path, "/agents/web")
				if ours && r.Method == http.MethodPatch {
					written.Store(true)
				}
				if !ours || r.Method != row.method || !written.Load() {
					return send(r)
				}
				response, err := send(r)
				halt.Do(func() {
					defer close(cut)
					w.Halt()
					select { // Whatever depends on the shutdown is canceled.
					case <-r.Context().Done():
						err = r.Context().Err()
					case <-time.After(time.Second):
					}
				})
				return response, err
			})
			w.Start()
			w.Apply("web")
			<-cut
			w.Stop()
			if got := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); got != 1 {
				t.Errorf("%d registrations were sent, want one", got)
			}
			if got := w.Get("web"); got.Status.ID == "" || len(w.Remote()) != 1 {
				t.Errorf("the ID is %q, and there are %d remote agents", got.Status.ID, len(w.Remote()))
			}
		})
	}
}
