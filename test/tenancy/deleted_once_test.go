/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// failing has the API server refuse each patch of an object for which failsNow returns true.
func failing(w *harness.World, code int, reason metav1.StatusReason, object string, failsNow func() bool) {
	w.Helper()
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, object) || !failsNow() {
			return send(r)
		}
		return harness.Refusal(r, code, reason, "the write failed")
	})
}

// A tenant writes its Agent all the time while that is being deleted, so that the operator's last write conflicts: nothing more is sent to
// Calyptia Cloud for what was deleted.
func TestDeletion_LastWriteConflicts_TheAgentIsDeletedOnce(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	tenant.Ready(w.Guest(tenant, "web"))
	var conflicts atomic.Int32
	failing(w, http.StatusConflict, metav1.StatusReasonConflict, tenant.Namespace+"/agents/web", func() bool { return conflicts.Load() < 10 && conflicts.Add(1) <= 10 })
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

// The same of the Agent's own agent, while a webhook fails the last write of the deletion for an hour.
func TestDeletion_OwnAgentThatCameBack_IsDeletedToo(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	of := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, id) }
	accepted := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Match: of, Status: http.StatusNoContent})
	missing := w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Match: of, Status: http.StatusNotFound, Body: `{"error":"agent not found"}`})
	var failed atomic.Int32
	var repaired atomic.Bool
	failing(w, http.StatusInternalServerError, metav1.StatusReasonInternalError, "/agents/web", func() bool { return !repaired.Load() && failed.Add(1) > 0 })
	w.Delete("web")
	w.Eventually("the last write fails", func() error {
		if failed.Load() == 0 {
			return errors.New("it was not sent")
		}
		return nil
	})
	accepted()
	missing()
	w.Clock.Step(time.Hour)
	repaired.Store(true)
	w.Gone("web")
	if n := len(w.Remote()); n != 0 {
		t.Errorf("%d agents are left", n)
	}
}
