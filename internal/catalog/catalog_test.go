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
	held     int64 // bytes
	most     int64 // bytes; 0: no bound
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
	w.catalogs = catalog.New(w.clock, func(bytes int64) error {
		if bytes > 0 && w.most > 0 && w.held+bytes > w.most {
			return errNoMore
		}
		w.held += bytes
		return nil
	})
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
			if again := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); !errors.Is(again, err) {
				t.Errorf("who asks right afterwards gets %v, want the same failure", again)
			}
			if got := w.Count(http.MethodGet, cloudtest.RouteFleets); got != 1 {
				t.Errorf("%d requests, want one for both", got)
			}
			w.clock.SetTime(w.clock.Now().Add(5 * time.Second))
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

// A kind that was listed once does not count as unlisted after a later 404.
func TestRead_AListThatIsGone(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	w.AddNamed(ours, cloud.Fleets, "edge")
	if err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	w.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteFleets, Times: 1, Status: 404, Body: "404 page not found\n"})
	err := w.catalogs.Read(t.Context(), names.Fleet, w.catalogs.Get(names.Fleet).At, w.fetch)
	if got := w.catalogs.Get(names.Fleet); !errors.Is(err, catalog.ErrListGone) || got.Unlisted || len(got.Entries) != 1 {
		t.Errorf("error %v, catalog %+v", err, got)
	}
}

// A rate limit that allows one page at a time does not make a long list begin again and again.
func TestRead_ContinuesWhatWasNotPermitted(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{PageSize: 10})
	for i := range 25 {
		w.AddNamed(ours, cloud.Fleets, fmt.Sprintf("fleet-%d", i))
	}
	began, errNotNow := w.clock.Now(), errors.New("the rate limit is used up")
	for read := 1; ; read++ {
		asked := 0
		err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{},
			func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error) {
				if asked++; asked > 1 {
					return nil, errNotNow
				}
				return w.fetch(ctx, kind, o)
			})
		if err == nil && read == 3 {
			break
		}
		if !errors.Is(err, errNotNow) || read > 3 {
			t.Fatalf("read %d: %v", read, err)
		}
		w.clock.SetTime(w.clock.Now().Add(time.Minute))
	}
	if got := w.catalogs.Get(names.Fleet); len(got.Entries) != 25 || !got.At.Equal(began) {
		t.Errorf("%d entries as of %s, want 25 as of the first page", len(got.Entries), got.At)
	}
	if got := w.Count(http.MethodGet, cloudtest.RouteFleets); got != 3 {
		t.Errorf("%d requests for 3 pages", got)
	}
}

// A list that is too old to continue, or that a request failed in, begins again.
func TestRead_BeginsAgain(t *testing.T) {
	for _, row := range []struct {
		name  string
		cause error
		later time.Duration
		want  int
	}{
		{"soon after", errors.New("not now"), time.Minute, 2},
		{"much later", errors.New("not now"), 10 * time.Minute, 3},
		{"after a failure", &cloud.Error{Op: "list fleets", Status: 503}, time.Minute, 3},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{PageSize: 1})
			w.AddNamed(ours, cloud.Fleets, "a")
			w.AddNamed(ours, cloud.Fleets, "b")
			err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{},
				func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error) {
					if o.Before != "" {
						return nil, row.cause
					}
					return w.fetch(ctx, kind, o)
				})
			if !errors.Is(err, row.cause) {
				t.Fatal(err)
			}
			w.clock.SetTime(w.clock.Now().Add(row.later))
			if err := w.catalogs.Read(t.Context(), names.Fleet, time.Time{}, w.fetch); err != nil {
				t.Fatal(err)
			}
			if got := w.Count(http.MethodGet, cloudtest.RouteFleets); got != row.want || len(w.catalogs.Get(names.Fleet).Entries) != 2 {
				t.Errorf("%d requests, want %d", got, row.want)
			}
		})
	}
}

func TestRead_Bounds(t *testing.T) {
	page := func(n int, before string) catalog.Fetch {
		return func(context.Context, cloud.NamedKind, cloud.NamedOptions) (*cloud.NamedPage, error) {
			p := &cloud.NamedPage{Before: before}
			for i := range n {
				p.Items = append(p.Items, cloud.Named{ID: fmt.Sprint(i), Name: "a"})
			}
			return p, nil
		}
	}
	for _, row := range []struct {
		name  string
		fetch catalog.Fetch
		want  error
	}{
		{"a list without an end", page(1000, "c"), catalog.ErrTooLong},
		{"empty pages without an end", page(0, "c"), catalog.ErrTooLong},
		{"an empty list", page(0, ""), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			if err := w.catalogs.Read(t.Context(), names.Environment, time.Time{}, row.fetch); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// An entry that two pages show is one.
func TestRead_ShiftedPages(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	pages := []cloud.NamedPage{
		{Items: []cloud.Named{{ID: "2", Name: "b"}, {ID: "1", Name: "a"}}, Before: "c"},
		{Items: []cloud.Named{{ID: "1", Name: "a"}}},
	}
	err := w.catalogs.Read(t.Context(), names.Environment, time.Time{},
		func(context.Context, cloud.NamedKind, cloud.NamedOptions) (*cloud.NamedPage, error) {
			page := pages[0]
			pages = pages[1:]
			return &page, nil
		})
	if got := fmt.Sprint(w.catalogs.Get(names.Environment).Entries); err != nil || got != "[{2 b} {1 a}]" {
		t.Errorf("got %s, error %v", got, err)
	}
}

// What the API refuses counts until the next list.
func TestRefuse(t *testing.T) {
	w := newWorld(t, cloudtest.Settings{})
	id := w.AddNamed(ours, cloud.Fleets, "edge")
	read := func() {
		t.Helper()
		if err := w.catalogs.Read(t.Context(), names.Fleet, w.catalogs.Get(names.Fleet).At, w.fetch); err != nil {
			t.Fatal(err)
		}
	}
	read()
	w.catalogs.Refuse(names.Fleet, id)
	if got := w.catalogs.Get(names.Fleet).Refused; got != id {
		t.Errorf("refused is %q", got)
	}
	w.clock.SetTime(w.clock.Now().Add(time.Minute))
	read()
	if got := w.catalogs.Get(names.Fleet).Refused; got != "" {
		t.Errorf("after the next list, refused is %q", got)
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

var errNoMore = errors.New("no more than that")

// What is held is counted once, and nothing is counted of what is dropped.
func TestRead_TakesMemory(t *testing.T) {
	const page = int64(2 * (2*64 + len("1") + len("a")))
	interrupted := errors.New("the rate limit")
	failed := &cloud.Error{Status: 500}
	for _, row := range []struct {
		name     string
		most     int64
		last     error // of the third page of the second list
		want     error
		held     int64
		entries  int
		requests int
	}{
		{"a list, and the one after it", 0, nil, nil, 3 * page, 6, 6},
		{"a list that is interrupted", 0, interrupted, interrupted, 3*page + 2*page, 6, 6},
		{"a list that fails", 0, failed, failed, 3 * page, 6, 6},
		{"no memory for a list", 2 * page, nil, catalog.ErrNoMemory, 0, 0, 3},
		{"no memory for the second list", 5 * page, nil, catalog.ErrNoMemory, 3 * page, 6, 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, cloudtest.Settings{})
			w.most = row.most
			requests := 0
			fetch := func(context.Context, cloud.NamedKind, cloud.NamedOptions) (*cloud.NamedPage, error) {
				requests++
				if requests == 6 && row.last != nil {
					return nil, row.last
				}
				first := requests % 3 * 2
				return &cloud.NamedPage{
					Items:  []cloud.Named{{ID: fmt.Sprint(first), Name: "a"}, {ID: fmt.Sprint(first + 1), Name: "a"}},
					Before: []string{"", "1", "2"}[requests%3],
				}, nil
			}
			var err error
			for range 2 {
				if err = w.catalogs.Read(t.Context(), names.Fleet, w.catalogs.Get(names.Fleet).At, fetch); err != nil {
					break
				}
			}
			if row.want == nil && err != nil || !errors.Is(err, row.want) || errors.Is(err, catalog.ErrNoMemory) != errors.Is(err, errNoMore) {
				t.Errorf("error %v, want %v", err, row.want)
			}
			if got := len(w.catalogs.Get(names.Fleet).Entries); got != row.entries || w.held != row.held || requests != row.requests {
				t.Errorf("%d entries, %d bytes, %d requests; want %d, %d, %d", got, w.held, requests, row.entries, row.held, row.requests)
			}
		})
	}
}
