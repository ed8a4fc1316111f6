/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// A tenant writes its Agent all the time while that is being deleted, so that the operator's last write conflicts: nothing more is sent to
// Calyptia Cloud for what was deleted.
func TestDeletion_LastWriteConflicts_TheAgentIsDeletedOnce(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "web"))
	var conflicts atomic.Int32
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, tenant.Namespace+"/agents/web") || conflicts.Load() >= 10 {
			return send(r)
		}
		conflicts.Add(1)
		status, err := json.Marshal(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Conflict", "code": http.StatusConflict})
		return &http.Response{
			StatusCode: http.StatusConflict, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(strings.NewReader(string(status))), Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		}, err
	})
	w.Cloud.ResetRequests()
	tenant.Delete("web")
	tenant.Gone("web")
	if n := conflicts.Load(); n != 10 {
		t.Errorf("%d writes conflicted", n)
	}
	if n := w.Cloud.Count(http.MethodDelete, cloudtest.RouteAgent); n != 1 {
		t.Errorf("%d deletions were sent, want 1", n)
	}
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d agents are left", n)
	}
}

// A duplicate was deleted while its Agent stayed, and Calyptia Cloud is restored from a backup that has it: what was confirmed then does not
// count when the Agent is deleted.
func TestDeletion_DuplicateThatCameBack_IsDeletedToo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
	duplicate := w.Register("web", w.Ready(w.Apply("web")).Status.MachineID).ID
	var reads atomic.Int32
	of := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, duplicate) }
	accepted := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Match: of, Status: http.StatusNoContent})
	missing := w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodGet, Match: func(r *http.Request) bool { return of(r) && reads.Add(1) > 1 }, // The first read verifies it.
		Status: http.StatusNotFound, Body: `{"error":"agent not found"}`,
	})
	w.Clock.Step(time.Minute)
	w.Poke("web")
	w.Eventually("the duplicate counts as deleted", func() error {
		if events := w.Events("web", 0); !slices.Contains(events, "DuplicateDeleted") {
			return fmt.Errorf("events are %v", events)
		}
		return nil
	})
	w.Ready("web")
	accepted()
	missing()
	entered := make(chan struct{}, 100)
	repair := w.Cloud.Inject(cloudtest.Fault{
		Method: http.MethodDelete, Route: cloudtest.RouteAgent, Status: http.StatusInternalServerError, Entered: entered,
	})
	w.Clock.Step(15 * time.Minute)
	w.Poke("web")
	w.Eventually("the duplicate is found again", func() error {
		if recorded := w.Get("web").Status.DuplicatesToDelete; !slices.Equal(recorded, []string{duplicate}) {
			return fmt.Errorf("recorded are %v", recorded)
		}
		return nil
	})
	w.Delete("web")
	<-entered
	repair()
	w.Gone("web")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d agents are left", n)
	}
}
