/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A filter refuses the registration of a team that is alone in a CloudProject, or a read of its agent, and asks to wait for an hour. A
// team whose first Agent comes then does not wait for that.
func TestThrottle_ByTheContentOfATeam_IsBriefForATeamThatComesLater(t *testing.T) {
	for _, row := range []struct {
		name    string
		refuses func(r *http.Request, id string) bool
		cause   func(w, hostile *harness.World)
	}{
		{"registration", func(r *http.Request, _ string) bool {
			body, err := io.ReadAll(r.Body)
			return err == nil && strings.Contains(string(body), "DROP TABLE")
		}, func(w, hostile *harness.World) {
			w.Guest(hostile, "odd", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# DROP TABLE\n" })
		}},
		{"read", func(r *http.Request, id string) bool {
			return r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, id)
		}, func(_, hostile *harness.World) { hostile.Poke("first") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w, hostile := harness.Shared(t, cloudtest.Settings{})
			id := hostile.Ready(w.Guest(hostile, "first")).Status.ID
			w.Cloud.Inject(cloudtest.Fault{
				Match:  func(r *http.Request) bool { return row.refuses(r, id) },
				Status: http.StatusTooManyRequests, Body: "<html>limited by the firewall</html>", Header: http.Header{"Retry-After": {"3600"}},
			})
			row.cause(w, hostile)
			w.Eventually("the filter refused", func() error {
				if !slices.ContainsFunc(w.Cloud.Requests(), func(r cloudtest.Request) bool { return r.Status == http.StatusTooManyRequests }) {
					return errors.New("nothing was refused")
				}
				return nil
			})
			w.Clock.Step(time.Minute)
			w.Ready(w.Apply("later"))
		})
	}
}
