/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// A wrong URL may lead to any server. None of them verifies a token that it never checked.
func TestAServerThatIsNotTheAPIVerifiesNothing(t *testing.T) {
	const some = "2b1f8c1e-0c53-4f0f-9d0e-5f2a6a0b9c11"
	for _, row := range []struct {
		name   string
		status int
		body   string
		usable bool // without a list calls are made, and the first that succeeds verifies
	}{
		{name: "an empty list for everything", status: 200, body: `[]`},
		{name: "a list of other things for everything", status: 200, body: `[{"id":"` + some + `","name":"lamp"}]`},
		{name: "an object for everything", status: 200, body: `{}`},
		{name: "the asked agent for everything", status: 200, body: `{"id":"00000000-0000-0000-0000-000000000000"}`},
		{name: "null for everything", status: 200, body: `null`},
		{name: "nothing for everything", status: 200},
		{name: "a page for everything", status: 200, body: `<html>Welcome</html>`},
		{name: "a bare 404 in the API's form", status: 404, body: `{"error":"not found"}`},
		{name: "a 404 of a framework", status: 404, body: `{"error":"Not Found","message":"Cannot GET /v1/v1/agents","statusCode":404}`},
		{name: "a 404 of the path", status: 404, body: `{"error":"no route for /v1/v1/agents"}`},
		{name: "a 404 in plain text", status: 404, body: "404 page not found\n"},
		{name: "an empty 404", status: 404},
		{name: "a bare 410", status: 410},
		{name: "a 400 in the API's form", status: 400, body: `{"error":"bad request"}`, usable: true},
	} {
		for _, garbage := range []bool{true, false} {
			name := row.name + ", a token that reveals its project"
			if garbage {
				name = row.name + ", a token that does not"
			}
			t.Run(name, func(t *testing.T) {
				other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.WriteHeader(row.status)
					_, _ = io.WriteString(w, row.body)
				}))
				t.Cleanup(other.Close)
				w := newWorld(t, cloudtest.Settings{})
				if garbage {
					w.token = cloud.NewToken("garbage")
				}
				w.cp.Spec.URL = other.URL + "/elsewhere"
				w.configure()
				err := w.Verify(t.Context())
				if w.Result().Verified {
					t.Fatal("the token is verified")
				}
				_, unusable := w.registry.Get(w.cp, somebody.Namespace)
				usable := row.usable && garbage
				if (unusable == nil) != usable {
					t.Errorf("calls are made: %v, want %v", unusable == nil, usable)
				}
				if path := other.URL + "/elsewhere/v1/agents/00000000-0000-0000-0000-000000000000"; !usable &&
					(err == nil || !strings.Contains(err.Error(), "/elsewhere/v1/") || !strings.Contains(err.Error(), "spec.url")) {
					t.Errorf("error %v, want one that names the path, such as %s, and spec.url", err, path)
				}
			})
		}
	}
}

// How much a list shows: agents verify the token, and an empty list only together with a read that the API itself
// writes in its own words.
func TestWhatAnEmptyListVerifies(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	noError(t, w.Verify(t.Context()))
	w.requests(2)
	if !w.Result().Verified {
		t.Error("the API's own words verify nothing")
	}
	w.forget()
	noError(t, w.Verify(t.Context()))
	w.requests(1) // It was verified, and is still there.
	w.register("m")

	w.registry.Forget(w.cp.UID)
	w.configure()
	w.forget()
	noError(t, w.Verify(t.Context()))
	w.requests(1)
	if !w.Result().Verified {
		t.Error("a list of agents verifies nothing")
	}
}
