/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/names"
)

func (w *world) readFleets() error {
	return w.ReadCatalog(w.Context(), somebody, w.Version(), names.Fleet, w.Catalog(w.Version(), names.Fleet).At)
}

func TestCatalog_IsSharedUntilTheSessionChanges(t *testing.T) {
	w := verified(t, cloudtest.Settings{})
	id := w.cloud.AddNamed(projectID, cloud.Fleets, "edge")
	theirs := w.cloud.AddNamed(otherID, cloud.Fleets, "edge")
	noError(t, w.readFleets())
	before := w.Version()
	if got := w.Catalog(before, names.Fleet).ID("edge"); got != id {
		t.Errorf("edge is %q, want %s", got, id)
	}
	w.requests(1)

	// Another project has a fleet of the same name.
	w.token = w.cloud.AddProject(otherID)
	w.configure()
	if got := w.Catalog(w.Version(), names.Fleet); !got.At.IsZero() {
		t.Errorf("the other project begins with %+v", got)
	}
	noError(t, w.Verify(w.Context()))
	if err := w.ReadCatalog(w.Context(), somebody, before, names.Fleet, time.Time{}); err == nil {
		t.Error("a list for the project of before is read")
	} else {
		w.refused(err, v1alpha1.ReasonProgressing)
	}
	noError(t, w.readFleets())
	if got := w.Catalog(w.Version(), names.Fleet).ID("edge"); got != theirs {
		t.Errorf("edge is %q, want %s", got, theirs)
	}
	// Who still works on the project of before neither sees nor changes the list of now.
	w.RefuseName(before, names.Fleet, theirs)
	if old, now := w.Catalog(before, names.Fleet), w.Catalog(w.Version(), names.Fleet); !old.At.IsZero() || now.Refused != "" {
		t.Errorf("before %+v, now %+v", old, now)
	}
}

func TestCatalog_IsReadWithinTheRateLimit(t *testing.T) {
	w := verified(t, cloudtest.Settings{PageSize: 1})
	w.cloud.AddNamed(projectID, cloud.Fleets, "edge")
	w.cloud.AddNamed(projectID, cloud.Fleets, "core")
	w.limit(1, 1)
	w.refused(w.readFleets(), v1alpha1.ReasonRateLimited)
	w.requests(1)
	w.clock.Step(2 * time.Second)
	noError(t, w.readFleets())
	w.requests(2) // It continued where it was.
	if got := w.Catalog(w.Version(), names.Fleet); len(got.Entries) != 2 {
		t.Errorf("the catalog is %+v", got)
	}
}

func TestCatalog_Failures(t *testing.T) {
	for _, row := range []struct {
		name   string
		fault  cloudtest.Fault
		fails  bool
		doubts bool
	}{
		{"no such list", cloudtest.Fault{Status: 404, Body: "404 page not found\n"}, false, false},
		{"an invalid token", cloudtest.Fault{Status: 401, Body: `{"error":"invalid token"}`, Header: json}, true, true},
		{"too many requests", cloudtest.Fault{Status: 429, Body: `{"error":"too many requests"}`, Header: json}, true, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			row.fault.Method, row.fault.Route = http.MethodGet, cloudtest.RouteFleets
			w.cloud.Inject(row.fault)
			if err := w.readFleets(); (err != nil) != row.fails {
				t.Errorf("error %v", err)
			}
			if got := w.checks.Load() > 0; got != row.doubts {
				t.Errorf("a credential check is asked for: %t, want %t", got, row.doubts)
			}
			w.requests(1)
			if err := w.readFleets(); (err != nil) != row.fails { // The gate is closed, or all callers get the failure.
				t.Errorf("error %v", err)
			}
		})
	}
}

// A missing list of names is no failure of Calyptia Cloud: the breaker stays closed.
func TestCatalog_NoListOpensNoBreaker(t *testing.T) {
	w := verified(t, cloudtest.Settings{NoNames: true})
	for range 10 {
		noError(t, w.readFleets())
		w.clock.Step(time.Minute)
	}
	if got := w.Catalog(w.Version(), names.Fleet); !got.Unlisted {
		t.Errorf("the catalog is %+v", got)
	}
	permit, err := w.Acquire(somebody)
	noError(t, err)
	permit.Release()
}

var json = http.Header{"Content-Type": {"application/json"}}

// The catalogs of a namespace share the memory of its snapshots, and a CloudProject that goes returns its part.
func TestCatalog_TakesMemoryUntilTheCloudProjectGoes(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.options.SnapshotMemory = 1 << 10
	w.renew()
	for range 2 {
		w.cloud.AddNamed(projectID, cloud.Fleets, "edge")
	}
	of := func(uid types.UID) *connection.Connection {
		cp := w.cp.DeepCopy()
		cp.UID, cp.Name = uid, string(uid)
		c, err := w.registry.Configure(cp, connection.Credentials{Token: w.token})
		noError(t, err)
		noError(t, c.Verify(t.Context()))
		return c
	}
	read := func(c *connection.Connection) error {
		return c.ReadCatalog(t.Context(), somebody, c.Version(), names.Fleet, time.Time{})
	}
	first, second := of("first"), of("second")
	noError(t, read(first))
	w.refused(read(second), v1alpha1.ReasonListTooLarge)
	w.registry.Forget("first")
	w.clock.Step(time.Minute)
	noError(t, read(second))
}
