/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

const anID = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"

func hostileSettings(w *harness.World, _ *v1alpha1.CloudProject) {
	w.CloudTimeout = time.Second
	w.Settings.OutageGrace = time.Millisecond
}

// responds replaces the real response; the request takes effect.
func responds(status int, body string) func(string) cloudtest.Fault {
	return func(other string) cloudtest.Fault {
		return cloudtest.Fault{
			Status: status, After: true, Body: strings.ReplaceAll(body, "OTHER", other),
			Header: http.Header{"Content-Type": {"application/json"}},
		}
	}
}

func does(f cloudtest.Fault) func(string) cloudtest.Fault {
	return func(string) cloudtest.Fault { return f }
}

var (
	page     = "<html>" + strings.Repeat("<p>Welcome</p>", 1<<20/14) + "</html>"
	absurd   = does(cloudtest.Fault{Header: http.Header{"X-Absurd": {strings.Repeat("x", 200<<10)}}})
	drips    = does(cloudtest.Fault{Drip: time.Second})
	cutShort = does(cloudtest.Fault{Truncate: 10})
)

// Whatever the response to a registration, the condition says that its outcome is not known, and there is exactly
// one agent once Calyptia Cloud works again.
func TestHostileResponsesToARegistration(t *testing.T) {
	rows := []struct {
		name  string
		fault func(other string) cloudtest.Fault
	}{
		{"JSON cut short", cutShort},
		{"a megabyte of HTML", responds(200, page)},
		{"an ID that is no UUID", responds(201, `{"id":"../../etc","token":"t","name":"web","createdAt":"2026-01-01T00:00:00Z"}`)},
		{"the ID of another agent", responds(201, `{"id":"OTHER","token":"t","name":"web","createdAt":"2026-01-01T00:00:00Z"}`)},
		{"headers of absurd size", absurd},
		{"a byte a second", drips},
		{"null", responds(201, `null`)},
		{"null everywhere", responds(201, `{"id":null,"token":null,"name":null,"createdAt":null,"environmentName":null}`)},
		{"a list", responds(201, `[]`)},
		{"nothing", responds(201, ``)},
		{"an error with a success", responds(201, `{"error":"not really"}`)},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble}, hostileSettings)
			other := w.Ready(w.Apply("other")).Status.ID
			f := row.fault(other)
			f.Method, f.Route, f.Times = http.MethodPost, cloudtest.RouteAgents, 1
			w.Cloud.Inject(f)
			w.Apply("web")
			w.NotReady("web", v1alpha1.ReasonRegistrationOutcomeUnknown)
			a := w.Ready("web")
			remains(w, other, a.Status.ID)
			remote, _ := w.Cloud.Agent(a.Status.ID)
			w.HoldsToken("web", remote)
			if a.Status.MachineID != remote.MachineID {
				t.Error("it is not that of the Agent")
			}
		})
	}
}

func TestAnEmptyTokenIsReadAgain(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{MaskRegister: true})
	w.Ready(w.Apply("web"))
	w.One("web")
}

// Whatever the response to a read, nothing is forgotten, and the condition of the Agent names the problem.
func TestHostileResponsesToARead(t *testing.T) {
	rows := []struct {
		name   string
		fault  func(other string) cloudtest.Fault
		reason string
	}{
		{"JSON cut short", cutShort, v1alpha1.ReasonInvalidResponse},
		{"a megabyte of HTML", responds(200, page), v1alpha1.ReasonInvalidResponse},
		{"an ID that is no UUID", responds(200, `{"id":"web"}`), v1alpha1.ReasonInvalidResponse},
		{"another agent", responds(200, `{"id":"OTHER","machineID":"x"}`), v1alpha1.ReasonInvalidResponse},
		{"headers of absurd size", absurd, v1alpha1.ReasonInvalidResponse},
		{"a byte a second", drips, v1alpha1.ReasonUnavailable},
		{"10 MB of configuration", responds(200, `{"id":"`+anID+`","rawConfig":"`+strings.Repeat("x", 10<<20)+`"}`), v1alpha1.ReasonInvalidResponse},
		{"null", responds(200, `null`), v1alpha1.ReasonInvalidResponse},
		{"null everywhere", responds(200, `{"id":null,"machineID":null,"token":null,"flags":null,"metadata":null}`), v1alpha1.ReasonInvalidResponse},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, hostileSettings)
			other := w.Ready(w.Apply("other")).Status.ID
			id := w.Ready(w.Apply("web")).Status.ID
			f := row.fault(other)
			f.Method, f.Route = http.MethodGet, cloudtest.RouteAgent
			behave := w.Cloud.Inject(f)
			w.Poke("web")
			a := w.NotReady("web", row.reason)
			if message := harness.Condition(a, v1alpha1.ConditionReady).Message; len(message) > 1024 || strings.Contains(message, "<") {
				t.Errorf("the message is %q", message)
			}
			behave()
			w.Ready("web")
			if got := handled(w, "web").Status.ID; got != id {
				t.Errorf("the Agent became %s, was %s", got, id)
			}
			remains(w, other, id)
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 2 {
				t.Errorf("%d registrations", n)
			}
		})
	}
}

// An agent with our ID and another machine ID must not be changed or deleted.
func TestARemoteAgentOfAnotherMachineIsNotOurs(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, hostileSettings)
	id := w.Ready(w.Apply("web")).Status.ID
	w.Poke("web")
	handled(w, "web") // A read showed it.
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.MachineID = "somebody-else" })
	w.Cloud.ResetRequests()
	w.Poke("web")
	w.Stalled("web", v1alpha1.ReasonRemoteMismatch, id, "spec.projectRef", "url")
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.9.9" })
	w.Poke("web")
	handled(w, "web")
	w.Restart() // The new process remembers no confirmation.
	w.Delete("web")
	w.Stalled("web", v1alpha1.ReasonRemoteMismatch, id, v1alpha1.AnnotationOrphan)
	for _, method := range []string{http.MethodPost, http.MethodPatch, http.MethodDelete} {
		if n := w.Cloud.Count(method, ""); n != 0 {
			t.Errorf("%d times %s", n, method)
		}
	}
	w.Change("web", func(a *v1alpha1.Agent) { a.Annotations[v1alpha1.AnnotationOrphan] = "true" })
	w.Gone("web")
	if remote, found := w.Cloud.Agent(id); !found || remote.Version != "v4.0.0" {
		t.Errorf("it is %+v (there: %v)", remote, found)
	}
}

// An agent that is not in a list may be registered again, so a list that cannot be trusted registers nothing.
func TestHostileLists(t *testing.T) {
	whole := func(r *http.Request) bool { return r.URL.Query().Get("last") != "1" } // the credential check asks for one
	next := func(cursor string) http.Header {
		return http.Header{"Link": {`</v1/projects/p/agents?before=` + cursor + `>; rel="next"`}}
	}
	at := func(cursor string) func(*http.Request) bool {
		return func(r *http.Request) bool { return whole(r) && r.URL.Query().Get("before") == cursor }
	}
	entry := `[{"id":"` + anID + `","machineID":"m","type":"t"}]`
	rows := []struct {
		name   string
		faults []cloudtest.Fault
	}{
		{"cursors that form a cycle", []cloudtest.Fault{
			{Match: at(""), Status: 200, Body: entry, Header: next("a")},
			{Match: at("a"), Status: 200, Body: entry, Header: next("b")},
			{Match: at("b"), Status: 200, Body: entry, Header: next("a")},
		}},
		{"a cursor that points to itself", []cloudtest.Fault{{Match: whole, Status: 200, Body: entry, Header: next("a")}}},
		{"endless empty pages", []cloudtest.Fault{{Match: whole, Status: 200, Body: `[]`, Header: next("a")}}},
		{"null", []cloudtest.Fault{{Match: whole, Status: 200, Body: `null`}}},
		{"a list of null", []cloudtest.Fault{{Match: whole, Status: 200, Body: `[null]`}}},
		{"an ID that is no UUID", []cloudtest.Fault{{Match: whole, Status: 200, Body: `[{"id":"web","machineID":"m","type":"t"}]`}}},
		{"a page of HTML", []cloudtest.Fault{{Match: whole, Status: 200, Body: page}}},
		{"cut short", []cloudtest.Fault{{Match: whole, Truncate: 1}}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle, hostileSettings)
			var behave []func()
			for _, f := range row.faults {
				f.Route = cloudtest.RouteList
				behave = append(behave, w.Cloud.Inject(f))
			}
			w.Apply("web")
			w.Start()
			w.NotReady("web", v1alpha1.ReasonInvalidResponse)
			if n := w.Cloud.Count(http.MethodGet, cloudtest.RouteList); n > 50 {
				t.Errorf("%d pages were read before the operator stopped", n)
			}
			if n := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); n != 0 {
				t.Errorf("%d registrations after an invalid list", n)
			}
			for _, end := range behave {
				end()
			}
			w.Ready("web")
			w.One("web")
		})
	}
}

// Only a limited part of an endless response is read.
func TestAnEndlessResponseIsCutOff(t *testing.T) {
	t.Parallel()
	var endless atomic.Bool
	var longest atomic.Int64
	w := harness.New(t, cloudtest.Settings{}, hostileSettings, func(w *harness.World, cp *v1alpha1.CloudProject) {
		chunk := []byte(strings.Repeat(" ", 64<<10))
		front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if !endless.Load() {
				w.Cloud.ServeHTTP(out, r)
				return
			}
			var sent int64
			for sent < 1<<30 {
				n, err := out.Write(chunk)
				if err != nil {
					break
				}
				sent += int64(n)
			}
			longest.Store(max(longest.Load(), sent))
		}))
		t.Cleanup(front.Close)
		cp.Spec.URL = front.URL
	})
	w.Ready(w.Apply("web"))
	endless.Store(true)
	w.Poke("web")
	w.NotReady("web", v1alpha1.ReasonInvalidResponse, "too large")
	endless.Store(false)
	w.Ready("web")
	handled(w, "web")
	// Bytes that were read, and bytes in the buffers of the kernel.
	if n := longest.Load(); n > 32<<20 || n == 0 {
		t.Errorf("%d bytes were read", n)
	}
	w.One("web")
}

func TestNamesWithTerminalEscapes(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web")).Status.ID
	evil := "\x1b[31mred\x07\r\n\u009b32m\u202egreen\x00" + strings.Repeat("long", 100)
	w.Cloud.Mutate(id, func(a *cloud.Agent) {
		a.Name, a.Version, a.Status, a.OS, a.Arch, a.EnvironmentName = evil, evil, evil, evil, evil, evil
		for range 1000 {
			a.Tags = append(a.Tags, evil)
		}
	})
	w.Poke("web")
	remote := handled(w, "web").Status.Agent
	if len(remote.Tags) == 0 || len(remote.Tags) > 100 {
		t.Errorf("%d tags", len(remote.Tags))
	}
	for _, shown := range append(remote.Tags, remote.Name, remote.Version, remote.Status, remote.OS, remote.Arch, remote.EnvironmentName) {
		if len(shown) > 1024 || strings.ContainsFunc(shown, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Errorf("the status shows %q", fmt.Sprintf("%.60s", shown))
		}
	}
}
