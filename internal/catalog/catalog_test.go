/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/internal/catalog"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/names"
)

const (
	ours   = "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"
	theirs = "9b2c3a57-0f0f-4a8e-8f1b-b0a9c6a3c001"
)

type world struct {
	*cloudtest.Server
	clock    *clocktesting.FakePassiveClock
	catalogs *catalog.Project
	fetch    catalog.Fetch
}

func newWorld(t *testing.T, settings cloudtest.Settings) *world {
	t.Helper()
	w := &world{Server: cloudtest.New(settings), clock: clocktesting.NewFakePassiveClock(time.Unix(1_800_000_000, 0))}
	web := w.Start()
	t.Cleanup(web.Close)
	base, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := cloud.New(cloud.Config{
		BaseURL: base, Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: w.AddProject(ours)}, Timeout: 5 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.catalogs = catalog.New(w.clock)
	w.fetch = func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error) {
		return client.ListNamed(ctx, kind, ours, o)
	}
	return w
}

func TestRead_AllPagesOnce(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{PageSize: 10})
	for i := range 25 {
		w.AddNamed(ours, cloud.Fleets, fmt.Sprintf("fleet-%d", i))
		w.AddNamed(theirs, cloud.Fleets, "fleet-0")
	}
	for range 3 {
		if err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(w.catalogs.Get(names.Fleet).Entries); got != 25 {
		t.Errorf("%d entries, want the 25 of this project", got)
	}
	if got := w.Count(http.MethodGet, cloudtest.RouteFleets); got != 3 {
		t.Errorf("%d requests, want 3 pages, once", got)
	}
	if at := w.catalogs.Get(names.Environment).At; !at.IsZero() {
		t.Errorf("environments were read at %s, and nobody asked", at)
	}
}

// What is renamed or deleted is followed at the next read.
func TestRead_AfterARename(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	id := w.AddNamed(ours, cloud.Environments, "staging")
	read := func(want string) {
		t.Helper()
		before := w.catalogs.Get(names.Environment).At
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
		if err := w.catalogs.Read(t.Context(), names.Environment, before, w.fetch); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(w.catalogs.Get(names.Environment).Entries); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	read("[{" + id + " staging}]")
	w.RenameNamed(ours, cloud.Environments, id, "stage")
	read("[{" + id + " stage}]")
	w.RemoveNamed(ours, cloud.Environments, id)
	read("[]")
}

func TestRead_Faults(t *testing.T) {
	const page = "<html>login</html>"
	for _, row := range []struct {
		name     string
		fault    cloudtest.Fault
		fails    bool
		unlisted bool
	}{
		{"no such route", cloudtest.Fault{Status: 404, Body: "404 page not found\n"}, false, true},
		{"not allowed", cloudtest.Fault{Status: 405, Body: "Method Not Allowed\n"}, false, true},
		{"a portal", cloudtest.Fault{Status: 200, Body: page}, true, false},
		{"an object", cloudtest.Fault{Status: 200, Body: `{"id":"1"}`}, true, false},
		{"null", cloudtest.Fault{Status: 200, Body: `null`}, true, false},
		{"cut short", cloudtest.Fault{Status: 200, Body: `[{"id":"1","name":"a"}]`, Truncate: 10}, true, false},
		{"a fleet without a UUID", cloudtest.Fault{Status: 200, Body: `[{"id":"../x","name":"a"}]`}, true, false},
		{"an outage", cloudtest.Fault{Status: 503, Body: page}, true, false},
		{"too many requests", cloudtest.Fault{Status: 429, Body: `{"error":"too many requests"}`}, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			w.AddNamed(ours, cloud.Fleets, "edge")
			row.fault.Method, row.fault.Route, row.fault.Times = http.MethodGet, cloudtest.RouteFleets, 1
			w.Inject(row.fault)
			err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch)
			got := w.catalogs.Get(names.Fleet)
			if (err != nil) != row.fails || got.Unlisted != row.unlisted || len(got.Entries) != 0 || got.At.IsZero() != row.fails {
				t.Fatalf("error %v, catalog %+v", err, got)
			}
			if !row.fails {
				return
			}
			if err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); err != nil || len(w.catalogs.Get(names.Fleet).Entries) != 1 {
				t.Errorf("the next read: %v", err)
			}
		})
	}
}

func TestRead_NamesThatCannotBeShown(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.AddNamed(ours, cloud.Environments, "a\u202eb")
	w.AddNamed(ours, cloud.Environments, "ok")
	if err := w.catalogs.Read(t.Context(), names.Environment, time.Time{}, w.fetch); err != nil {
		t.Fatal(err)
	}
	for _, e := range w.catalogs.Get(names.Environment).Entries {
		if e.Name != "ok" && e.Name != "" {
			t.Errorf("the name %q is kept", e.Name)
		}
	}
}

// A worker does not wait for another's read.
func TestRead_WhileAnotherReads(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	begun, end := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	slow := func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error) {
		close(begun)
		<-end
		return w.fetch(ctx, kind, o)
	}
	go func() { done <- w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, slow) }()
	<-begun
	if err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); !errors.Is(err, catalog.ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	close(end)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
