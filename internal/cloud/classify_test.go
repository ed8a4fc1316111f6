/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// verdict is what a caller decides by.
type verdict struct {
	Class       cloud.Class
	Reason      cloud.Reason
	API         bool
	NothingMade bool
	Gone        bool
}

// verdictRow is a response to a call, and what follows from it.
type verdictRow struct {
	name   string
	call   func(context.Context, *cloud.Client) error
	status int
	body   string
	header http.Header
	want   verdict
}

// verdictRows cover every status that the API documents, and what proxies say.
func verdictRows() []verdictRow {
	const (
		terminal  = cloud.ClassTerminal
		waiting   = cloud.ClassWaiting
		retryable = cloud.ClassRetryable
		html      = "<html>502</html>"
		api       = true
	)
	said := func(message string) string { return `{"error":"` + message + `"}` }
	register := func(ctx context.Context, c *cloud.Client) error {
		_, err := c.Register(ctx, registration("machine-1"))
		return err
	}
	get := func(ctx context.Context, c *cloud.Client) error { _, err := c.Get(ctx, nilID); return err }
	update := func(ctx context.Context, c *cloud.Client) error {
		return c.Update(ctx, nilID, cloud.Update{Name: new("other")})
	}
	remove := func(ctx context.Context, c *cloud.Client) error { return c.Delete(ctx, nilID) }
	return []verdictRow{
		{"a bad request is terminal", register, 400, said("invalid agent name"), nil, verdict{terminal, cloud.ReasonInvalid, api, true, false}},
		{
			"an unprocessable one too", register, 422, said("unsupported agent version"), nil,
			verdict{terminal, cloud.ReasonInvalid, api, true, false},
		},
		{"an empty body keeps the status's meaning", register, 422, "", nil, verdict{terminal, cloud.ReasonInvalid, false, false, false}},
		{"a proxy's 400 is retried", register, 400, html, nil, verdict{retryable, cloud.ReasonContentRefused, false, false, false}},
		{
			"JSON of another shape is a proxy's", register, 403, `{"message":"no"}`, nil,
			verdict{retryable, cloud.ReasonContentRefused, false, false, false},
		},
		{
			"a key in other letters is a proxy's", remove, 404, `{"Error":"agent not found"}`, nil,
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{
			"an error that is no string is a proxy's", remove, 404, `{"error":{"code":404}}`, nil,
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{
			"JSON and more is a proxy's", remove, 404, said("agent not found") + "x", nil,
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{"a bad token waits", get, 401, said("invalid token"), nil, verdict{waiting, cloud.ReasonUnauthorized, api, true, false}},
		{"a proxy's 401 waits as well", get, 401, html, nil, verdict{waiting, cloud.ReasonUnauthorized, false, false, false}},
		{"forbidden is terminal", register, 403, said("permission denied"), nil, verdict{terminal, cloud.ReasonForbidden, api, true, false}},
		{
			"the quota is recognized by its words", register, 403, said("agents quota exceeded"), nil,
			verdict{terminal, cloud.ReasonQuotaExceeded, api, true, false},
		},
		{
			"the quota is recognized by its numbers", register, 403, `{"error":"no more","quotaLimit":5}`, nil,
			verdict{terminal, cloud.ReasonQuotaExceeded, api, true, false},
		},
		{
			"a field of the agent's own", update, 403, said("update agent raw config forbidden"), nil,
			verdict{terminal, cloud.ReasonFieldForbidden, api, true, false},
		},
		{
			"a missing agent is the caller's to judge", get, 404, said("agent not found"), nil,
			verdict{retryable, cloud.ReasonAgentNotFound, api, true, true},
		},
		{
			"a route that is quoted is no evidence about the agent", remove, 404, said("no route for DELETE /v1/agents/" + nilID), nil,
			verdict{retryable, cloud.ReasonNotFound, api, true, false},
		},
		{
			"an agent that is missing by its path", get, 404, said("GET /v1/agents/" + nilID + ": agent not found"), nil,
			verdict{retryable, cloud.ReasonAgentNotFound, api, true, true},
		},
		{
			"nor does a path", get, 404, said("cannot GET /v1/agents/" + nilID), nil,
			verdict{retryable, cloud.ReasonNotFound, api, true, false},
		},
		{"a plain not found alone is no evidence", get, 404, said("not found"), nil, verdict{retryable, cloud.ReasonNotFound, api, true, false}},
		{
			"a missing project is not a missing agent", get, 404, said("project not found"), nil,
			verdict{retryable, cloud.ReasonNotFound, api, true, false},
		},
		{"an empty 404 is no evidence about the agent", get, 404, "", nil, verdict{retryable, cloud.ReasonNotFound, false, false, false}},
		{
			"an unknown route is no evidence about the agent", get, 404, "404 page not found\n", nil,
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{
			"a missing fleet is terminal for a registration", register, 404, said("fleet not found"), nil,
			verdict{terminal, cloud.ReasonFleetNotFound, api, true, false},
		},
		{
			"a missing environment is terminal for an update", update, 404, said("environment not found"), nil,
			verdict{terminal, cloud.ReasonEnvironmentNotFound, api, true, false},
		},
		{
			"a missing fleet in a read is not", get, 404, said("fleet not found"), nil,
			verdict{retryable, cloud.ReasonFleetNotFound, api, true, false},
		},
		{
			"a conflict may be with ourselves", register, 409, said("machine ID conflict"), nil,
			verdict{terminal, cloud.ReasonConflict, api, false, false},
		},
		{"gone for good", remove, 410, said("agent gone"), nil, verdict{retryable, cloud.ReasonGone, api, true, true}},
		{"an empty 410 is no evidence about the agent", remove, 410, "", nil, verdict{retryable, cloud.ReasonGone, false, false, false}},
		{
			"an unsupported call is terminal", update, 405, said("method not allowed"), nil,
			verdict{terminal, cloud.ReasonUnsupported, api, true, false},
		},
		{"so is one not implemented", update, 501, "", nil, verdict{terminal, cloud.ReasonUnsupported, false, false, false}},
		{"a proxy's 501 is retried", update, 501, html, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"too many requests wait", register, 429, html, nil, verdict{waiting, cloud.ReasonRateLimited, false, false, false}},
		{
			"a late request may have been served", register, 408, said("timeout"), nil,
			verdict{retryable, cloud.ReasonUnavailable, api, false, false},
		},
		{
			"too large for the API is terminal", register, 413, said("too large"), nil,
			verdict{terminal, cloud.ReasonContentRefused, api, true, false},
		},
		{"so is too large for a proxy", register, 413, html, nil, verdict{terminal, cloud.ReasonContentRefused, false, false, false}},
		{
			"the API's trouble is retried", register, 500, said("internal"), nil,
			verdict{retryable, cloud.ReasonUnavailable, api, false, false},
		},
		{"a gateway's trouble is retried", register, 502, html, nil, verdict{retryable, cloud.ReasonUnavailable, false, false, false}},
		{
			"nor is a gateway the API where it speaks like it", register, 502, said("upstream reset"), nil,
			verdict{retryable, cloud.ReasonUnavailable, false, false, false},
		},
		{
			"the API may go on behind a gateway that gave up", register, 504, said("upstream timeout"), nil,
			verdict{retryable, cloud.ReasonUnavailable, false, false, false},
		},
		{"unavailable is retried", get, 503, "", nil, verdict{retryable, cloud.ReasonUnavailable, false, false, false}},
		{
			"unavailable until a time waits", get, 503, "", http.Header{"Retry-After": {"7"}},
			verdict{waiting, cloud.ReasonUnavailable, false, false, false},
		},
		{
			"a redirect is not followed", get, 302, "", http.Header{"Location": {"/v1/agents/" + nilID}},
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{
			"nor one that keeps the method", register, 308, "", http.Header{"Location": {"/elsewhere"}},
			verdict{retryable, cloud.ReasonInvalidResponse, false, false, false},
		},
		{"a 2xx of another kind", get, 206, "{}", nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"a registration without an ID", register, 201, `{"token":"t"}`, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"a registration that returns HTML", register, 200, html, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"an agent cut short", get, 200, `{"id":"` + nilID, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"another agent", get, 200, `{"id":"` + fleetID + `"}`, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"null for an agent", get, 200, `null`, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"a portal that responds to a deletion", remove, 200, html, nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
		{"an error inside a success", remove, 200, said("no"), nil, verdict{retryable, cloud.ReasonInvalidResponse, false, false, false}},
	}
}

func TestVerdicts(t *testing.T) {
	for _, row := range verdictRows() {
		t.Run(row.name, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(cloudtest.Fault{Status: row.status, Body: row.body, Header: row.header})
			err := row.call(t.Context(), newClient(t, web.URL, cloud.Config{}))
			e := failure(t, err)
			got := verdict{e.Class, e.Reason, e.API, e.NothingMade(), cloud.IsGone(err)}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if e.Status != row.status || e.NotSent {
				t.Errorf("status %d, not sent %t", e.Status, e.NotSent)
			}
			if calls := server.Count("", ""); calls != 1 {
				t.Errorf("%d calls were made", calls)
			}
			if strings.Contains(err.Error(), "html") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q repeats what is not the API's", err)
			}
		})
	}
}

func TestErrorsOfTheFake(t *testing.T) {
	s := newService(t, cloudtest.Settings{
		Quota: 1, Fleets: map[string]string{fleetID: "edge"}, Environments: map[string]string{"env-1": "staging"},
	})
	with := func(change func(*cloud.Registration)) error {
		r := registration("machine-2")
		change(&r)
		_, err := s.client.Register(t.Context(), r)
		return err
	}
	none := func(*cloud.Registration) {}
	s.register(t, "machine-1")
	for want, err := range map[string]error{
		"422 invalid agent name":            with(func(r *cloud.Registration) { r.Name = "a b" }),
		"422 invalid machine ID":            with(func(r *cloud.Registration) { r.MachineID = "" }),
		"422 invalid agent type":            with(func(r *cloud.Registration) { r.Type = "logstash" }),
		"422 invalid agent version":         with(func(r *cloud.Registration) { r.Version = "latest" }),
		"422 invalid agent edition":         with(func(r *cloud.Registration) { r.Edition = "free" }),
		"422 invalid agent raw config":      with(func(r *cloud.Registration) { r.RawConfig = "" }),
		"422 invalid agent metadata":        with(func(r *cloud.Registration) { r.Metadata = []byte(`[]`) }),
		"422 invalid fleet ID":              with(func(r *cloud.Registration) { r.FleetID = "edge" }),
		"404 fleet not found":               with(func(r *cloud.Registration) { r.FleetID = nilID }),
		"404 environment not found":         with(func(r *cloud.Registration) { r.EnvironmentID = "env-2" }),
		"409 conflict: machine ID conflict": with(func(r *cloud.Registration) { r.MachineID = "machine-1" }),
		"403 quota exceeded: agents quota exceeded (limit 1, remaining 0)": with(none),
	} {
		if failed := failure(t, err); failed.Error() != "register agent: "+want || !failed.API || failed.Class != cloud.ClassTerminal {
			t.Errorf("got %q of class %s, want %q", failed, failed.Class, want)
		}
	}
	s.RevokeToken(s.token)
	if err := with(none); err.Error() != "register agent: 401 unauthorized: invalid token" {
		t.Errorf("after the revocation: %v", err)
	}
}

func TestRetryAfterReachesTheCaller(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	for name, header := range map[string]http.Header{
		"seconds": {"Retry-After": {"90"}},
		"a date by the clock of the API, which is behind": {
			"Retry-After": {"Mon, 04 May 2026 03:03:31 GMT"}, "Date": {"Mon, 04 May 2026 03:02:01 GMT"},
		},
	} {
		for _, row := range []struct {
			status int
			body   string
			want   time.Duration
		}{
			{429, "", 90 * time.Second}, {503, "", 90 * time.Second}, {409, `{"error":"locked"}`, 90 * time.Second},
			{302, "", 0}, {403, "<html>", 0}, {404, "<html>", 0}, {409, "<html>", 0},
		} {
			remove := server.Inject(cloudtest.Fault{Status: row.status, Body: row.body, Header: header})
			_, err := newClient(t, web.URL, cloud.Config{}).Get(t.Context(), nilID)
			if got := failure(t, err).RetryAfter; got != row.want {
				t.Errorf("%s, %d %s: got %s, want %s", name, row.status, row.body, got, row.want)
			}
			remove()
		}
	}
}

func TestOddFieldsDoNotHideAnAgent(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	odd := `{"id":"` + strings.ToUpper(fleetID) + `","name":"web","token":null,"machineID":"m","type":"t",
		"status":7,"os":null,"tags":"x","metricsCount":"many","createdAt":"yesterday","updatedAt":"2026-05-04T03:02:01Z",
		"lastMetricsAddedAt":"","metadata":null,"newField":[1]}`
	server.Inject(cloudtest.Fault{Route: cloudtest.RouteAgent, Status: 200, Body: odd})
	client := newClient(t, web.URL, cloud.Config{})
	got, err := client.Get(t.Context(), fleetID)
	if err != nil {
		t.Fatal(err)
	}
	want := cloud.Agent{ID: fleetID, Name: "web", MachineID: "m", Type: "t", UpdatedAt: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("agent (-want +got):\n%s", diff)
	}
	// Nor its page, whose other agents lose nothing.
	plain := `{"id":"` + fleetID + `","machineID":"m","type":"t","status":"healthy","metricsCount":7,"metadata":null}`
	for _, body := range []string{"[" + plain + "]", "[" + odd + "," + plain + "]"} {
		remove := server.Inject(cloudtest.Fault{Route: cloudtest.RouteList, Status: 200, Body: body})
		page, err := client.List(t.Context(), projectID, cloud.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		remove()
		listed := []cloud.Agent{{ID: fleetID, MachineID: "m", Type: "t", Status: "healthy", MetricsCount: 7}}
		if strings.Contains(body, "many") {
			listed = []cloud.Agent{want, listed[0]}
		}
		if diff := cmp.Diff(listed, page.Agents); diff != "" {
			t.Errorf("page (-want +got):\n%s", diff)
		}
	}
}
