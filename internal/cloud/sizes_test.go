/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// The status shows the outcome: the body may be missing, unless something else wrote it.
func TestADeletionNeedsNoBody(t *testing.T) {
	t.Parallel()
	huge := `{"id":"` + nilID + `","rawConfig":"` + strings.Repeat("x", 1<<20) + `"}`
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	for name, row := range map[string]struct {
		fault cloudtest.Fault
		done  bool
	}{
		"204":                           {cloudtest.Fault{Status: 204}, true},
		"200 without a body":            {cloudtest.Fault{Status: 200}, true},
		"202 with the agent":            {cloudtest.Fault{Status: 202, Body: huge[:60] + `"}`}, true},
		"200 with a huge agent":         {cloudtest.Fault{Status: 200, Body: huge}, true},
		"200 with a huge agent, cut":    {cloudtest.Fault{Status: 200, Body: huge, Truncate: 100 << 10}, true},
		"200 with an agent, cut":        {cloudtest.Fault{Status: 200, Body: huge[:90], Truncate: 50}, true},
		"200 with a list, cut":          {cloudtest.Fault{Status: 200, Body: "[" + huge, Truncate: 10}, true},
		"200 with a body that drips":    {cloudtest.Fault{Status: 200, Body: huge, Drip: time.Hour}, true},
		"200 with spaces, cut":          {cloudtest.Fault{Status: 200, Body: strings.Repeat(" ", 100), Truncate: 50}, true},
		"200 with a portal":             {cloudtest.Fault{Status: 200, Body: "<html>" + huge}, false},
		"200 with a portal, cut":        {cloudtest.Fault{Status: 200, Body: "<html>" + huge, Truncate: 3}, false},
		"200 with a portal that drips":  {cloudtest.Fault{Status: 200, Body: "<html>", Drip: time.Hour, Header: html}, false},
		"200 with HTML that never came": {cloudtest.Fault{Status: 200, Body: "   <html>", Truncate: 1, Header: html}, false},
		"200 with words, cut":           {cloudtest.Fault{Status: 200, Body: "Welcome " + huge, Truncate: 20}, false},
		"200 with an error":             {cloudtest.Fault{Status: 200, Body: `{"error":"no"}`}, false},
		"200 with an error, cut":        {cloudtest.Fault{Status: 200, Body: `{"a":[{"error":""}],"error":"no","b":` + huge, Truncate: 60}, false},
		"200 with a framework's error":  {cloudtest.Fault{Status: 200, Body: `{"error":"no","status":404}`}, false},
		"200 with an error elsewhere":   {cloudtest.Fault{Status: 200, Body: `{"a":{"error":"no"},"b":` + huge, Truncate: 60}, true},
		"206":                           {cloudtest.Fault{Status: 206, Body: huge}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(row.fault)
			config := cloud.Config{}
			if row.fault.Drip > 0 {
				config.Timeout = short
			}
			client := newClient(t, web.URL, config)
			for op, err := range map[string]error{
				"delete": client.Delete(t.Context(), nilID), "update": client.Update(t.Context(), nilID, cloud.Update{Name: new("other")}),
			} {
				if (err == nil) != row.done {
					t.Errorf("%s: %v", op, err)
				}
				if err != nil && failure(t, err).Class != cloud.ClassRetryable {
					t.Errorf("%s: %v is of class %s", op, err, failure(t, err).Class)
				}
			}
		})
	}
}

// What can be declared can be read back, however the server escapes it.
func TestTheLargestAgentCanBeReadBack(t *testing.T) {
	largest := map[string]any{
		"id": fleetID, "machineID": "m", "type": "fluentbit", "rawConfig": strings.Repeat("<", 1<<20),
		"metadata": map[string]string{"a": strings.Repeat("&", 256<<10)},
	}
	flags := make([]string, 128)
	for i := range flags {
		flags[i] = strings.Repeat(">", 1024)
	}
	largest["flags"] = flags
	agent, err := json.Marshal(largest)
	if err != nil {
		t.Fatal(err)
	}
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	server.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: 200, Body: string(agent)})
	server.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 200, Body: "[" + string(agent) + "]"})
	client := newClient(t, web.URL, cloud.Config{})
	got, err := client.Get(t.Context(), fleetID)
	if err != nil || len(got.RawConfig) != 1<<20 || len(got.Flags) != 128 {
		t.Errorf("%d bytes: %v", len(agent), err)
	}
	if page, err := client.List(t.Context(), projectID, cloud.ListOptions{Last: 1}); err != nil || len(page.Agents) != 1 {
		t.Errorf("list: %v", err)
	}
}

// It is no outage: the server is there, and the agent is what is wrong.
func TestAResponseThatIsTooLargeIsKnown(t *testing.T) {
	// Its size is in no member, which would be shortened.
	agent := `{"id":"` + fleetID + `"` + strings.Repeat(`,"x":1`, 1500) + `}`
	for name, row := range map[string]struct {
		status int
		reason cloud.Reason
	}{
		"an agent":                 {200, cloud.ReasonTooLarge},
		"the page of a gateway":    {502, cloud.ReasonUnavailable},
		"the page of a route":      {404, cloud.ReasonInvalidResponse},
		"the page of an unknown":   {302, cloud.ReasonInvalidResponse},
		"the page of a credential": {401, cloud.ReasonUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(cloudtest.Fault{Status: row.status, Body: agent})
			_, err := newClient(t, web.URL, cloud.Config{MaxBody: 4096}).Get(t.Context(), fleetID)
			e := failure(t, err)
			if e.Reason != row.reason || !errors.Is(err, cloud.ErrTooLarge) {
				t.Errorf("%v: reason %s", err, e.Reason)
			}
		})
	}
}
