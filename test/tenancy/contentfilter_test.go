/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// blockedText is what the filter passes in no response.
const blockedText = "4111-1111-1111-1111"

// dropped is the status with which the filter drops the connection.
const dropped = 0

// behindFilter has the CloudProject reach the cloud through a filter that replaces each response with blockedText.
func behindFilter(w *harness.World, cp *v1alpha1.CloudProject, status int) {
	w.Helper()
	target, err := url.Parse(w.HTTP.URL)
	if err != nil {
		w.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		response := httptest.NewRecorder()
		proxy.ServeHTTP(response, r)
		code, body := response.Code, response.Body.Bytes()
		if bytes.Contains(body, []byte(blockedText)) {
			if status == dropped {
				panic(http.ErrAbortHandler)
			}
			response.Header().Set("Content-Type", "text/html")
			code, body = status, []byte("<html>The content was blocked</html>")
		}
		for name, values := range response.Header() {
			rw.Header()[name] = values
		}
		rw.Header().Del("Content-Length")
		rw.WriteHeader(code)
		_, _ = rw.Write(body)
	}))
	w.Cleanup(server.Close)
	cp.Spec.URL = server.URL
}

// block has the agent of a guest hold what the filter passes in no response.
func block(w, tenant *harness.World, name string) {
	w.Helper()
	updateAsAgent(w, tenant, name, `{"rawConfig":"# `+blockedText+`"}`)
}

// checked waits until a credential check is complete: it ends with the read of an agent that cannot exist.
func checked(w *harness.World) {
	w.Helper()
	checks := func() (n int) {
		for _, r := range w.Cloud.Requests() {
			if strings.HasSuffix(r.Path, "/"+uuid.Nil.String()) {
				n++
			}
		}
		return n
	}
	before := checks()
	w.PokeProject()
	w.Eventually("a credential check", func() error {
		if checks() == before {
			return errors.New("there is none")
		}
		return nil
	})
}

// The same on an API that limits lists, or that lists by name slowly: the second look of a check, at a list that shows no agent, fails.
// What fails shows nothing of lists.
func TestFilter_RefusesTheNewestAgent_TheSecondListFails_TheAPIStillLists(t *testing.T) {
	for name, second := range map[string]cloudtest.Fault{
		"it limits lists": {
			Status: http.StatusTooManyRequests, Body: `{"error":"too many requests"}`,
			Header: http.Header{"Content-Type": {"application/json"}, "Retry-After": {"60"}},
		},
		"it lists by name slowly": {Latency: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDUpsert},
				func(w *harness.World, cp *v1alpha1.CloudProject) { behindFilter(w, cp, http.StatusForbidden) })
			w.Ready(w.Apply("web"))
			victim := ofAnotherTeam(w, "machine-1")
			tenant.Ready(w.Guest(tenant, "blocked"))
			block(w, tenant, "blocked")
			var looked atomic.Int32
			second.Method, second.Route = http.MethodGet, cloudtest.RouteList
			second.Match = func(r *http.Request) bool {
				byName := r.URL.Query().Has("name")
				if byName {
					looked.Add(1)
				}
				return byName
			}
			w.Cloud.Inject(second)
			for n := range int32(4) { // Longer than the time after which a missing list is believed.
				w.Clock.Step(8 * time.Minute)
				w.PokeProject()
				w.Eventually("a second look", func() error {
					if looked.Load() <= n {
						return errors.New("there is none")
					}
					return nil
				})
			}
			tenant.NotReady(w.Guest(tenant, "thief", machine("machine-1")), v1alpha1.ReasonInvalidResponse, "filter", "may refuse what one of the agents holds")
			w.ProjectBecomes("False", "", "refuses the list of the newest agent", "the next list failed")
			if lists := w.Project().Status.ListSupported; lists == nil || !*lists {
				t.Error("the API counts as one that does not list")
			}
			if n := len(w.Remote()); n != 3 {
				t.Errorf("%d remote agents, want 3", n)
			}
			w.Unharmed([]cloud.Agent{victim})
		})
	}
}

// What one guest's newest agent holds has something in between refuse each list that shows it. The API still counts as one that lists:
// else a chosen machine ID would be the agent that has it, and an agent that was left behind would not be found. Registrations that need
// a list wait, and say why.
func TestFilter_RefusesTheNewestAgent_TheAPIStillLists(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusNotFound, http.StatusNotImplemented} {
		for name, policy := range map[string]cloudtest.MachineIDPolicy{"upsert": cloudtest.MachineIDUpsert, "double": cloudtest.MachineIDDouble} {
			t.Run(fmt.Sprint(status, " ", name), func(t *testing.T) {
				t.Parallel()
				w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: policy}, func(w *harness.World, cp *v1alpha1.CloudProject) {
					behindFilter(w, cp, status)
				})
				w.Ready(w.Apply("left"))
				victim := ofAnotherTeam(w, "machine-1")
				tenant.Ready(w.Guest(tenant, "blocked"))
				w.Change("left", annotated(v1alpha1.AnnotationOrphan, "true"))
				w.Delete("left")
				w.Gone("left")
				w.Eventually("its Secret is deleted", func() error {
					if w.Secret("left-token") != nil {
						return errors.New("it exists")
					}
					return nil
				})
				block(w, tenant, "blocked")
				for range 3 { // More than the time after which a missing list is believed.
					w.Clock.Step(8 * time.Minute)
					checked(w)
				}
				if lists := w.Project().Status.ListSupported; lists == nil || !*lists {
					t.Error("the API counts as one that does not list")
				}
				w.ProjectBecomes("False", v1alpha1.ReasonUnavailable, "refuses the list of the newest agent", fmt.Sprint(status), "filter")
				w.PokeProject()
				w.ProjectHandled()       // The API responded.
				w.Ready(w.Apply("left")) // By the last list.
				if n := len(w.Remote()); n != 3 {
					t.Errorf("%d remote agents, want 3", n)
				}
				tenant.NotReady(w.Guest(tenant, "thief", machine("machine-1")), v1alpha1.ReasonInvalidResponse,
					fmt.Sprint(status), "filter", "one of the agents holds")
				w.Unharmed([]cloud.Agent{victim})
				updateAsAgent(w, tenant, "blocked", `{"rawConfig":"# harmless"}`)
				w.Clock.Step(time.Minute)
				tenant.Stalled("thief", v1alpha1.ReasonMachineIDConflict)
				w.Unharmed([]cloud.Agent{victim})
				w.ProjectBecomes("True", "")
			})
		}
	}
}

// The operator starts meanwhile: the credentials are verified by what shows no agent, and other teams are served. So are those of a new
// CloudProject, which has no list from before.
func TestFilter_RefusesTheNewestAgent_RestartAndNewCloudProject(t *testing.T) {
	for _, status := range []int{dropped, 200, 401, 403, 406, 451, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, cloudtest.Settings{UniqueMachineIDs: cloudtest.MachineIDDouble},
				func(w *harness.World, cp *v1alpha1.CloudProject) { behindFilter(w, cp, status) })
			w.Ready(w.Apply("changed"))
			w.Ready(w.Apply("deleted"))
			tenant.Ready(w.Guest(tenant, "blocked"))
			block(w, tenant, "blocked")
			w.Stop()
			w.Start(tenant.Namespace)
			w.Change("changed", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" })
			w.Ready("changed")
			w.Delete("deleted")
			w.Gone("deleted")
			second := w.NewCloudProject("second")
			behindFilter(w, second, status)
			w.Create(second)
			w.Eventually("the new CloudProject knows that the API lists", func() error {
				var cp v1alpha1.CloudProject
				w.Read(w.Key("second"), &cp)
				if lists := cp.Status.ListSupported; lists == nil || !*lists {
					return fmt.Errorf("%+v", cp.Status.Conditions)
				}
				return nil
			})
		})
	}
}
