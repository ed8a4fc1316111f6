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

// A filter refuses what a team declares that is alone in a CloudProject, and asks to wait for an hour. A team whose first Agent comes
// then does not wait for that.
func TestThrottle_ByTheContentOfATeam_IsBriefForATeamThatComesLater(t *testing.T) {
	t.Parallel()
	w, hostile := harness.Shared(t, cloudtest.Settings{})
	hostile.Ready(w.Guest(hostile, "first"))
	w.Cloud.Inject(cloudtest.Fault{
		Match: func(r *http.Request) bool {
			body, err := io.ReadAll(r.Body)
			return err == nil && strings.Contains(string(body), "DROP TABLE")
		},
		Status: http.StatusTooManyRequests, Body: "<html>rate limited by the firewall</html>", Header: http.Header{"Retry-After": {"3600"}},
	})
	w.Guest(hostile, "odd", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "# DROP TABLE\n" })
	w.Eventually("the filter refused", func() error {
		if !slices.ContainsFunc(w.Cloud.Requests(), func(r cloudtest.Request) bool { return r.Status == http.StatusTooManyRequests }) {
			return errors.New("nothing was refused")
		}
		return nil
	})
	w.Clock.Step(time.Minute)
	w.Ready(w.Apply("later"))
}
