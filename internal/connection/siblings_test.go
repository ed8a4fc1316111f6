/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/inventory"
	"github.com/calyptia-agent-operator/operator/internal/ratelimit"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// another returns the Connection of another CloudProject with a token, after its credential check.
func (w *world) another(name string, url string, token cloud.Token) *connection.Connection {
	w.Helper()
	cp := w.cp.DeepCopy()
	cp.Name, cp.UID, cp.Spec.URL = name, types.UID(name), url
	other, err := w.registry.Configure(cp, connection.Credentials{Token: token})
	noError(w, err)
	_ = other.Verify(w.Context())
	return other
}

const opaqueToken = "opaque-token-0123456789"

// opaque returns the Connection of another CloudProject that claims the project in its spec, and whose token is of the given project.
func (w *world) opaque(project string) *connection.Connection {
	w.Helper()
	w.cloud.AddToken(project, opaqueToken)
	w.cp.Spec.ProjectID = projectID
	return w.another("b", w.cp.Spec.URL, cloud.NewToken(opaqueToken))
}

// What is registered, and found missing, through one CloudProject changes the snapshots of others that are known to be of the same project,
// however old, and no other snapshot.
func TestSnapshotsOfOneProjectShareRegistrationsAndDeletions(t *testing.T) {
	forged := cloud.NewToken(base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"`+projectID+`"}`)) + ".forged")
	for _, row := range []struct {
		name  string
		other func(*world) *connection.Connection
		want  bool
	}{
		{"the same project", func(w *world) *connection.Connection { return w.another("b", w.cp.Spec.URL, w.token) }, true},
		{"another token of it, another spelling of the URL", func(w *world) *connection.Connection {
			return w.another("b", w.cp.Spec.URL+"/", w.cloud.AddProject(projectID))
		}, true},
		{"another project", func(w *world) *connection.Connection {
			return w.another("b", w.cp.Spec.URL, w.cloud.AddProject(otherID))
		}, false},
		{"another project, claimed, of an API that lists nothing of it", func(w *world) *connection.Connection {
			return w.opaque(otherID)
		}, false},
		{"a token that does not show its project, which lists agents of it", func(w *world) *connection.Connection {
			return w.opaque(projectID)
		}, true},
		{"another URL", func(w *world) *connection.Connection { return w.another("b", w.cp.Spec.URL+"/base", w.token) }, false},
		{"a token that the API rejects", func(w *world) *connection.Connection { return w.another("b", w.cp.Spec.URL, forged) }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{EmptyForOthers: true})
			missing := w.register("missing")
			began := w.clock.Now()
			w.clock.Step(time.Second)
			w.expectFound("missing", began, missing)
			other := row.other(w)
			w.forget()

			other.Add(inventory.Entry{ID: otherID, MachineID: "new"}, other.Endpoint(), nil)
			other.Drop(missing)
			if row.want {
				w.expectFound("new", began, otherID)
				w.expectFound("missing", began)
			} else {
				w.expectFound("new", began)
				w.expectFound("missing", began, missing)
			}
			w.requests(0)
		})
	}
}

// An empty project, whose tokens do not show it: nothing confirms what two CloudProjects claim, but one token has one project.
func TestSameProject_ThatHasNoAgents_IsShownByOneToken(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	first := w.opaque(projectID)
	w.cp.Name = "same"
	same, err := w.registry.Configure(w.cp, connection.Credentials{Token: cloud.NewToken(opaqueToken)})
	noError(t, err)
	noError(t, same.Verify(t.Context()))
	w.cloud.AddToken(projectID, "another-opaque-token-0123456789")
	another := w.another("another", w.cp.Spec.URL, cloud.NewToken("another-opaque-token-0123456789"))
	if at := first.Endpoint(); !connection.SameProject(first, same, at) || connection.SameProject(first, another, at) {
		t.Error("the same token does not confirm the project, or another token does")
	}
	w.register("m")
	for _, c := range []*connection.Connection{first, another} {
		noError(t, c.Verify(t.Context()))
	}
	if !connection.SameProject(first, another, first.Endpoint()) {
		t.Error("lists with agents do not confirm the project")
	}
}

// What is registered through one CloudProject is in the snapshots of all others of the project, within the memory that all of them may take.
func TestSnapshotsOfOneProject_ManyCloudProjectsAndRegistrations_TakeBoundedMemory(t *testing.T) {
	const projects, agents, bound = 200, 500, 8 << 20
	w := newWorld(t, cloudtest.Settings{})
	w.options.SnapshotMemory, w.options.Metrics = bound, nil
	w.renew()
	noError(t, w.Verify(t.Context()))
	w.register("first")
	w.clock.Step(time.Second)
	var all []*connection.Connection
	for i := range projects {
		c := w.another(fmt.Sprint("p-", i), w.cp.Spec.URL, w.token)
		_, _, err := c.FindByMachine(t.Context(), "first", w.clock.Now().Add(-1))
		noError(t, err)
		all = append(all, c)
	}
	w.forget()
	before := testenv.Heap()
	for i := range agents {
		w.register(fmt.Sprint("machine-", i))
		if i%50 == 0 {
			w.forget()
		}
	}
	w.forget()
	if grown := testenv.Heap() - before; grown > bound {
		t.Errorf("the snapshots of %d CloudProjects take %d MiB more, although all may take %d", projects, grown>>20, bound>>20)
	}
	runtime.KeepAlive(all)
}

// What is registered again and again, and what is registered and deleted, through one CloudProject takes memory once in each snapshot of the
// project: all of them stay within a memory that has room for little more.
func TestSnapshotsOfOneProject_TheSameAgain_TakesMemoryOnce(t *testing.T) {
	const again = 100
	w := newWorld(t, cloudtest.Settings{})
	w.options.SnapshotMemory = 16 << 10
	w.renew()
	noError(t, w.Verify(t.Context()))
	listed := w.register("listed")
	w.clock.Step(time.Second)
	other := w.another("b", w.cp.Spec.URL, w.token)
	began := w.clock.Now().Add(-1)
	for _, c := range []*connection.Connection{w.Connection, other} {
		_, _, err := c.FindByMachine(t.Context(), "listed", began)
		noError(t, err)
	}
	w.forget()
	for range again {
		other.Add(inventory.Entry{ID: otherID, MachineID: "again"}, other.Endpoint(), nil)
		other.Add(inventory.Entry{ID: projectID, MachineID: "short"}, other.Endpoint(), nil)
		w.Drop(projectID)
	}
	for _, c := range []*connection.Connection{w.Connection, other} {
		for machine, id := range map[string]string{"listed": listed, "again": otherID, "short": ""} {
			found, _, err := c.FindByMachine(t.Context(), machine, began)
			if noError(t, err); (len(found) == 1) != (id != "") || id != "" && found[0].ID != id {
				t.Errorf("machine %s has the agents %v", machine, found)
			}
		}
	}
	w.requests(0)
}

// inFlight registers an agent, and calls meanwhile once the registration was sent; after has it take effect before that.
func (w *world) inFlight(after bool, meanwhile func()) (id string) {
	w.Helper()
	entered, block, made := make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	w.cloud.Inject(cloudtest.Fault{Method: http.MethodPost, Route: cloudtest.RouteAgents, Times: 1, Entered: entered, Block: block, After: after})
	go func() {
		defer close(made)
		permit, err := w.Acquire(ratelimit.Caller{UID: "web"})
		if err != nil {
			w.Error(err)
			return
		}
		if registered, err := permit.Register(w.Context(), registration("web")); err != nil {
			w.Error(err)
		} else {
			id = registered.ID
		}
	}()
	<-entered
	meanwhile()
	close(block)
	<-made
	return id
}

// The token of one of two CloudProjects of a project is replaced, or its url is changed and changed back, while a registration is in flight:
// the lists of both, which are older, show the agent.
func TestARegistrationDuringAChangeIsInTheListsOfAll(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"nothing":   func(*world) {},
		"the token": func(w *world) { w.token = w.cloud.AddProject(projectID); w.configure() },
		"the url, and back": func(w *world) {
			was := w.cp.Spec.URL
			for _, url := range []string{was + "/base", was} {
				w.cp.Spec.URL = url
				w.configure()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := verified(t, cloudtest.Settings{})
			other := w.another("b", w.cp.Spec.URL, w.token)
			began := w.clock.Now()
			w.clock.Step(time.Second)
			if _, _, err := other.FindByMachine(t.Context(), "web", began); err != nil {
				t.Fatal(err)
			}
			id := w.inFlight(name != "the url, and back", func() {
				change(w)
				if name == "the url, and back" {
					noError(t, w.Verify(t.Context()))
					w.expectFound("web", began) // It does not take effect yet.
				}
			})
			if name == "the token" {
				noError(t, w.Verify(t.Context()))
			}
			w.expectFound("web", began, id)
			found, _, err := other.FindByMachine(t.Context(), "web", began)
			if err != nil || len(found) != 1 || found[0].ID != id {
				t.Errorf("the other CloudProject finds %v of %s, error %v", found, id, err)
			}
		})
	}
}
