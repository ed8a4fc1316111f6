/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// foreignBodies are the error bodies of frameworks and gateways. Some hold an error that reads like the API's.
var foreignBodies = map[string]string{
	"Spring":                  `{"timestamp":"2026-05-04T03:02:01.000+00:00","path":"/v1/agents/x","status":404,"error":"Not Found"}`,
	"Spring that names it":    `{"timestamp":1777863721000,"status":404,"error":"agent not found","message":"","path":"/v1/agents/x"}`,
	"Rails":                   `{"status":404,"error":"Not Found"}`,
	"Rails in development":    `{"status":404,"error":"Not Found","exception":"#<ActionController::RoutingError>","traces":{}}`,
	"Express":                 `{"error":"Not Found","message":"Cannot GET /v1/agents/x"}`,
	"Express with a stack":    `{"error":"agent not found","stack":"Error: agent not found\n    at /app/index.js"}`,
	"NestJS":                  `{"statusCode":404,"message":"Cannot GET /v1/agents/x","error":"Not Found"}`,
	"Fastify":                 `{"message":"Route GET:/v1/agents/x not found","error":"Not Found","statusCode":404}`,
	"hapi":                    `{"statusCode":404,"error":"Not Found","message":"agent not found"}`,
	"API Gateway":             `{"message":"Not Found"}`,
	"Kong":                    `{"message":"no Route matched with those values","request_id":"7"}`,
	"Azure":                   `{"statusCode":404,"message":"Resource not found"}`,
	"Apigee":                  `{"fault":{"faultstring":"not found"},"error":"agent not found"}`,
	"a gateway's code":        `{"error":"agent not found","error_code":"GW404"}`,
	"Django":                  `{"detail":"Not found."}`,
	"Symfony":                 `{"type":"https://tools.ietf.org/html/rfc2616#section-10","title":"An error occurred","status":404,"detail":"Not Found"}`,
	"problem with an error":   `{"type":"about:blank","title":"Not Found","error":"agent not found"}`,
	"problem of an instance":  `{"instance":"/v1/agents/x","error":"agent not found"}`,
	"Feathers":                `{"name":"NotFound","message":"Page not found","code":404,"className":"not-found","errors":{}}`,
	"Feathers with an error":  `{"error":"agent not found","code":404,"className":"not-found"}`,
	"Elasticsearch":           `{"error":"Incorrect HTTP method for uri [/v1/agents/x]","status":405}`,
	"Elasticsearch, in parts": `{"error":{"root_cause":[],"type":"index_not_found_exception"},"status":404}`,
	"OAuth":                   `{"error":"agent not found","error_description":"The client is not known"}`,
	"Kubernetes":              `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"x","reason":"NotFound","code":404}`,
	"a reason beside it":      `{"error":"agent not found","reason":"NoRoute"}`,
	"other letters":           `{"error":"agent not found","Status":404}`,
	"other hyphens":           `{"error":"agent not found","status-code":404}`,
	"a flag beside it":        `{"ok":false,"error":"agent not found"}`,
	"an envelope":             `{"success":false,"error":"agent not found"}`,
	"a list":                  `[{"error":"agent not found"}]`,
	"an empty error":          `{"error":" "}`,
	"a text":                  `"agent not found"`,
	"HTML":                    `<html><body>agent not found</body></html>`,
}

func TestOfAFrameworksNotFoundNothingIsBelieved(t *testing.T) {
	for name, body := range foreignBodies {
		for _, status := range []int{http.StatusNotFound, http.StatusGone} {
			t.Run(fmt.Sprintf("%s %d", name, status), func(t *testing.T) {
				server := cloudtest.New(cloudtest.Settings{})
				web := server.Start()
				defer web.Close()
				server.Inject(cloudtest.Fault{Status: status, Body: body})
				for op, err := range everyCallOfAnAgent(t.Context(), newClient(t, web.URL, cloud.Config{})) {
					e := failure(t, err)
					if e.API || e.Message != "" || cloud.IsGone(err) || cloud.MaybeGone(err) {
						t.Errorf("%s: %v: API %t, gone %t, maybe %t", op, err, e.API, cloud.IsGone(err), cloud.MaybeGone(err))
					}
					if e.Class != cloud.ClassRetryable {
						t.Errorf("%s: %v is of class %s", op, err, e.Class)
					}
				}
			})
		}
	}
}

// Each key alone distinguishes a framework from the API; an unknown key does not.
func TestEachForeignKeyAloneIsOneTooMany(t *testing.T) {
	keys := map[string]bool{"requestID": false, "request_id": false, "detail": false, "docs": false, "hint": false, "quotaLimit": false}
	for _, key := range []string{
		"path", "status", "statusCode", "status_code", "timestamp", "message", "msg", "trace", "traces", "stack", "exception", "errors",
		"type", "title", "instance", "code", "errorCode", "className", "reason", "fault", "error_description", "error_uri", "kind",
		"apiVersion", "ok", "success",
	} {
		keys[key] = true
	}
	for key, foreign := range keys {
		t.Run(key, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			for _, value := range []string{"null", `"x"`, "404", "{}"} {
				remove := server.Inject(cloudtest.Fault{Status: 404, Body: `{"error":"agent not found","` + key + `":` + value + `}`})
				_, err := newClient(t, web.URL, cloud.Config{}).Get(t.Context(), nilID)
				if e := failure(t, err); e.API == foreign || cloud.IsGone(err) == foreign {
					t.Errorf("%s beside it: %v: API %t", value, err, e.API)
				}
				remove()
			}
		})
	}
}

func everyCallOfAnAgent(ctx context.Context, c *cloud.Client) map[string]error {
	_, read := c.Get(ctx, nilID)
	return map[string]error{
		"get": read, "delete": c.Delete(ctx, nilID), "update": c.Update(ctx, nilID, cloud.Update{Name: new("other")}),
	}
}

func TestWhatIsGoneIsSaidOfTheAgent(t *testing.T) {
	const missing, maybe, neither = "missing", "maybe", "neither"
	other := strings.Replace(nilID, "0", "1", 1)
	for _, row := range []struct {
		status  int
		message string
		want    string
	}{
		{404, "agent not found", missing},
		{404, "Agent not found.", missing},
		{404, "agent gone", missing},
		{404, "the agent was deleted", missing},
		{404, "no such agent", missing},
		{404, "agent " + nilID + " not found", missing},
		{404, `agent with id "` + strings.ToUpper(nilID) + `" does not exist`, missing},
		{404, "agent not found: " + nilID, missing},
		{404, "GET /v1/agents/" + nilID + ": agent not found", missing},
		{410, "agent gone", missing},
		{410, "gone", missing},
		{410, "deleted for good", missing},

		{404, "not found", maybe},
		{404, "Not Found", maybe},
		{404, "404 Not Found", maybe},
		{404, "resource not found", maybe},
		{404, "record not found", maybe},
		{404, "could not find agent " + nilID, maybe},

		{404, "host not found", neither},
		{404, "agent not found on host", neither},
		{404, "upstream not found", neither},
		{404, "no agent upstream: not found", neither},
		{404, "user agent not found", neither},
		{404, "User-Agent not found", neither},
		{404, "agents not found", neither},
		{404, "agent service not found", neither},
		{404, "agent host not found", neither},
		{404, "agent route not found", neither},
		{404, "service not found", neither},
		{404, "page not found", neither},
		{404, "route not found", neither},
		{404, "no route for DELETE /v1/agents/" + nilID, neither},
		{404, "/v1/agents/" + nilID + " not found", neither},
		{404, "project not found", neither},
		{404, "project of the agent not found", neither},
		{404, "fleet not found", neither},
		{404, "fleet of the agent not found", neither},
		{404, "environment not found", neither},
		{404, "tenant not found", neither},
		{404, "agent " + other + " not found", neither},
		{404, "agent is fine", neither},
		{404, "enter your agent number", neither},
		{410, "this version of the API is gone", neither},
		{410, "project gone", neither},
		{410, "agent " + other + " gone", neither},
		{400, "agent not found", neither},
		{403, "agent not found", neither},
		{500, "agent not found", neither},
		{502, "agent not found", neither},
		{504, "agent gone", neither},
	} {
		t.Run(fmt.Sprintf("%d %s", row.status, row.message), func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			body := fmt.Sprintf(`{"error":%q,"requestID":"7","detail":"more"}`, row.message)
			server.Inject(cloudtest.Fault{Status: row.status, Body: body})
			for op, err := range everyCallOfAnAgent(t.Context(), newClient(t, web.URL, cloud.Config{})) {
				got := neither
				switch gone, perhaps := cloud.IsGone(err), cloud.MaybeGone(err); {
				case gone && perhaps:
					got = "both"
				case gone:
					got = missing
				case perhaps:
					got = maybe
				}
				if got != row.want {
					t.Errorf("%s: %v is %s, want %s", op, err, got, row.want)
				}
			}
		})
	}
}

func TestAMessageAboutNoAgentShowsNoneGone(t *testing.T) {
	for _, body := range []string{`{"error":"agent not found"}`, `{"error":"not found"}`} {
		for _, status := range []int{404, 410} {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(cloudtest.Fault{Status: status, Body: body})
			client := newClient(t, web.URL, cloud.Config{})
			_, made := client.Register(t.Context(), registration("machine-1"))
			_, listed := client.List(t.Context(), projectID, cloud.ListOptions{})
			for _, err := range []error{made, listed, nil, context.Canceled} {
				if cloud.IsGone(err) || cloud.MaybeGone(err) {
					t.Errorf("%v is taken for gone", err)
				}
			}
		}
	}
}

func TestOnlyTheAPIsRejectionShowsThatNothingWasMade(t *testing.T) {
	const own, html = `{"error":"no","requestID":"7"}`, "<html>Blocked</html>"
	unknown := map[int]bool{408: true, 409: true, 425: true, 499: true}
	for _, status := range []int{400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 413, 414, 418, 422, 423, 425, 428, 429, 431, 451, 499} {
		for _, body := range []string{own, html, "", foreignBodies["Spring"], foreignBodies["OAuth"], `{"message":"no"}`} {
			t.Run(fmt.Sprintf("%d %s", status, body), func(t *testing.T) {
				server := cloudtest.New(cloudtest.Settings{})
				web := server.Start()
				defer web.Close()
				// The response is replaced, after the registration took effect.
				server.Inject(cloudtest.Fault{Status: status, Body: body, After: true})
				_, err := newClient(t, web.URL, cloud.Config{}).Register(t.Context(), registration("machine-1"))
				if want := body == own && !unknown[status]; failure(t, err).NothingMade() != want {
					t.Errorf("%v: nothing made %t, want %t", err, !want, want)
				}
			})
		}
	}
}

func TestAConflictIsOneOfARegistration(t *testing.T) {
	for _, status := range []int{http.StatusConflict, http.StatusLocked} {
		server := cloudtest.New(cloudtest.Settings{})
		web := server.Start()
		defer web.Close()
		server.Inject(cloudtest.Fault{Status: status, Body: `{"error":"the agent is being changed"}`})
		client := newClient(t, web.URL, cloud.Config{})
		for op, err := range everyCallOfAnAgent(t.Context(), client) {
			if e := failure(t, err); e.Class != cloud.ClassRetryable || e.Reason != cloud.ReasonUnavailable || !e.API {
				t.Errorf("%s: %v is of class %s", op, err, e.Class)
			}
		}
		if _, err := client.List(t.Context(), projectID, cloud.ListOptions{}); failure(t, err).Reason != cloud.ReasonUnavailable {
			t.Errorf("list: %v", err)
		}
	}
}

func TestContentThatSomethingInBetweenRefuses(t *testing.T) {
	const (
		own, html = `{"error":"no"}`, "<html>Blocked</html>"
		retryable = cloud.ClassRetryable
		terminal  = cloud.ClassTerminal
		refused   = cloud.ReasonContentRefused
		invalid   = cloud.ReasonInvalidResponse
	)
	for _, row := range []struct {
		name   string
		status int
		body   string
		class  cloud.Class
		reason cloud.Reason
	}{
		{"a firewall", 403, html, retryable, refused},
		{"a firewall that writes JSON", 403, `{"message":"Forbidden"}`, retryable, refused},
		{"a proxy's limit", 413, html, terminal, refused},
		{"a proxy's limit without words", 413, "", terminal, refused},
		{"the API's limit", 413, own, terminal, refused},
		{"a proxy's bad request", 400, html, retryable, refused},
		{"a proxy's unprocessable one", 422, html, retryable, refused},
		{"not acceptable", 406, html, retryable, refused},
		{"not acceptable, without words", 406, "", retryable, refused},
		{"a length", 411, html, retryable, refused},
		{"a precondition", 412, html, retryable, refused},
		{"an address", 414, html, retryable, refused},
		{"a type", 415, html, retryable, refused},
		{"an expectation", 417, html, retryable, refused},
		{"a teapot", 418, html, retryable, refused},
		{"fields", 431, html, retryable, refused},
		{"the law", 451, html, retryable, refused},
		{"a gateway of credentials", 401, html, cloud.ClassWaiting, cloud.ReasonUnauthorized},
		{"a proxy's credentials", 407, html, retryable, invalid},
		{"no such page", 404, html, retryable, invalid},
		{"no such method", 405, html, retryable, invalid},
		{"late", 408, html, retryable, invalid},
		{"a conflict in between", 409, html, retryable, invalid},
		{"gone in between", 410, html, retryable, invalid},
		{"misdirected", 421, html, retryable, invalid},
		{"locked in between", 423, html, retryable, invalid},
		{"early", 425, html, retryable, invalid},
		{"an upgrade", 426, html, retryable, invalid},
		{"too many", 429, html, cloud.ClassWaiting, cloud.ReasonRateLimited},
		{"closed by the client", 499, html, retryable, invalid},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := cloudtest.New(cloudtest.Settings{})
			web := server.Start()
			defer web.Close()
			server.Inject(cloudtest.Fault{Status: row.status, Body: row.body})
			client := newClient(t, web.URL, cloud.Config{})
			_, made := client.Register(t.Context(), registration("machine-1"))
			for _, err := range []error{made, client.Update(t.Context(), nilID, cloud.Update{Name: new("other")})} {
				e := failure(t, err)
				if e.Class != row.class || e.Reason != row.reason {
					t.Errorf("%v: class %s, reason %s; want %s, %s", err, e.Class, e.Reason, row.class, row.reason)
				}
				const words = "something between the operator and the API rejects this configuration"
				if says := strings.Contains(err.Error(), words); says != (row.reason == refused && row.body != own) {
					t.Errorf("%q names the wrong one", err)
				}
			}
			_, read := client.Get(t.Context(), nilID)
			for _, err := range []error{read, client.Delete(t.Context(), nilID)} {
				if e := failure(t, err); e.Reason == refused {
					t.Errorf("%v, though nothing was sent that could be refused", err)
				}
			}
		})
	}
}
