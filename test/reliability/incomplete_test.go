/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// incompletely is one response to a read of an existing agent with its ID alone, as a filter or a cache may have it.
func incompletely(id string) cloudtest.Fault {
	f := wrongly(id)
	f.Status, f.Body, f.Header = http.StatusOK, fmt.Sprintf(`{"id":%q}`, id), http.Header{"Content-Type": {"application/json"}}
	return f
}

// A retained agent whose Secret is gone is found in the list. A response without its machine ID does not show that it is another's.
func TestRetained_OneResponseWithoutMachineID_NoSecondAgent(t *testing.T) {
	for name, response := range map[string]func(id string) cloudtest.Fault{
		"a read": incompletely,
		"a list": func(id string) cloudtest.Fault {
			f := incompletely(id)
			f.Route, f.Match = cloudtest.RouteList, func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" }
			f.Body = fmt.Sprintf(`[{"id":%q,"name":"web","type":"fluentbit","createdAt":%q}]`, id, time.Now().UTC().Format(time.RFC3339))
			return f
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble})
			id := w.Ready(w.Apply("web", retain)).Status.ID
			w.Delete("web")
			w.Gone("web")
			forget(w, "web-token")
			w.Stop()
			w.Cloud.Inject(response(id))
			w.Apply("web", retain)
			w.Start()
			w.Ready("web")
			remains(w, id)
		})
	}
}
