/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

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
