/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package catalog shares the fleets and environments of a project among its
// Agents: thousands of Agents that name one fleet cost one list. Its lists are lost with the process, and read again.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/names"
)

// Limits of all catalogs.
const (
	// MissingInterval is the least time between two lists that look for a missing name.
	MissingInterval = 30 * time.Second
	// failedInterval is how long the failure of a list is returned to all callers.
	failedInterval = 5 * time.Second
	// partialAge is how long the beginning of a list is worth continuing.
	partialAge = 10 * time.Minute
	// mostEntries bounds what is read for one catalog, and entryBytes is what an entry takes without its texts, twice while
	// its slice grows.
	mostEntries = 20_000
	entryBytes  = 2 * 64
)

var (
	// ErrBusy says that somebody else is reading the catalog.
	ErrBusy = errors.New("the catalog is being read")
	// ErrTooLong says that the API lists more than a catalog holds.
	ErrTooLong = errors.New("the API lists too many")
	// ErrNoMemory is wrapped by the failure of a Memory.
	ErrNoMemory = errors.New("no memory")
	// ErrListGone says that the API listed things of this kind before, and has no such list now.
	ErrListGone = errors.New("the API listed them before, and has no list of them now")
)

// Fetch reads one page.
type Fetch func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error)

// Memory takes so many bytes more, or returns some if they are negative. It fails if that is too much.
type Memory func(bytes int64) error

// Project is the catalogs of one endpoint. What it holds is lost with the process: it costs one list again.
type Project struct {
	clock  clock.PassiveClock
	memory Memory
	kinds  map[names.Kind]*shelf
}

// shelf is the catalog of one kind. mu is held for a moment.
type shelf struct {
	reading progress
	mu      sync.Mutex
	catalog names.Catalog
	bytes   int64 // of the catalog
}

// progress is of the list that is under way, or failed. mu is held while it is read.
type progress struct {
	mu sync.Mutex
	// partial is the list as far as it was read, and before the cursor of the page that is missing.
	partial names.Catalog
	before  string
	bytes   int64 // of partial
	// failure of the last list, and when it was.
	failure  error
	failedAt time.Time
}

// New returns empty catalogs, which take memory.
func New(clock clock.PassiveClock, memory Memory) *Project {
	return &Project{clock: clock, memory: memory, kinds: map[names.Kind]*shelf{names.Fleet: {}, names.Environment: {}}}
}

// Get is what is known; its At is zero before the first read.
func (p *Project) Get(kind names.Kind) names.Catalog {
	s := p.kinds[kind]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalog
}

// Refuse records that the API does not know an ID that it listed. The next list decides.
func (p *Project) Refuse(kind names.Kind, id string) {
	s := p.kinds[kind]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog.Refused = id
}

var listed = map[names.Kind]cloud.NamedKind{names.Fleet: cloud.Fleets, names.Environment: cloud.Environments}

// Read lists everything of a kind, unless a list was begun after notBefore. It fails with ErrBusy while another caller
// reads, so that no worker waits for it, and with the last failure shortly after that, so that not every caller
// repeats the request. A list that the rate limiter interrupted is continued by the next caller.
func (p *Project) Read(ctx context.Context, kind names.Kind, notBefore time.Time, fetch Fetch) error {
	s := p.kinds[kind]
	r := &s.reading
	if !r.mu.TryLock() {
		return ErrBusy
	}
	defer r.mu.Unlock()
	now, before := p.clock.Now(), p.Get(kind)
	if !before.At.IsZero() && before.At.After(notBefore) {
		return nil
	}
	if since := now.Sub(r.failedAt); r.failure != nil && since >= 0 && since < failedInterval {
		return r.failure
	}
	fresh, err := r.list(ctx, listed[kind], now, p.memory, fetch)
	if err == nil && fresh.Unlisted && !before.At.IsZero() && !before.Unlisted {
		err = ErrListGone
	}
	r.failure, r.failedAt = nil, now
	switch _, sent := cloud.AsError(err); {
	case err == nil:
	case sent && ctx.Err() == nil, errors.Is(err, ErrListGone), errors.Is(err, ErrTooLong), errors.Is(err, ErrNoMemory):
		r.failure = err
		return err
	default:
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = p.memory(-s.bytes) // Only taking fails.
	s.catalog, s.bytes = fresh, r.bytes
	r.partial, r.bytes = names.Catalog{}, 0
	return nil
}

// list reads all pages, or those that an earlier caller left.
func (r *progress) list(
	ctx context.Context, kind cloud.NamedKind, now time.Time, memory Memory, fetch Fetch,
) (names.Catalog, error) {
	if r.before == "" || now.Sub(r.partial.At) >= partialAge {
		r.drop(memory)
		r.partial.At = now
	}
	for {
		page, err := fetch(ctx, kind, cloud.NamedOptions{Before: r.before})
		if err != nil {
			first := r.before == ""
			if _, sent := cloud.AsError(err); sent {
				r.drop(memory)
			}
			if first && cloud.LacksRoute(err) {
				return names.Catalog{At: now, Unlisted: true}, nil
			}
			return names.Catalog{}, err
		}
		if err := r.add(page, memory); err != nil {
			r.drop(memory)
			return names.Catalog{}, fmt.Errorf("%w: %w", ErrNoMemory, err)
		}
		if len(r.partial.Entries) > mostEntries || len(page.Items) == 0 && page.Before != "" {
			r.drop(memory)
			return names.Catalog{}, ErrTooLong
		}
		if r.before = page.Before; r.before == "" {
			return names.Catalog{At: r.partial.At, Entries: once(r.partial.Entries)}, nil
		}
	}
}

// add keeps a page, if there is memory for it.
func (r *progress) add(page *cloud.NamedPage, memory Memory) error {
	size := int64(0)
	for _, item := range page.Items {
		size += int64(entryBytes + len(item.ID) + len(item.Name))
	}
	if err := memory(size); err != nil {
		return err
	}
	r.bytes += size
	for _, item := range page.Items {
		r.partial.Entries = append(r.partial.Entries, names.Entry{ID: item.ID, Name: item.Name})
	}
	return nil
}

// drop forgets the beginning of a list.
func (r *progress) drop(memory Memory) {
	_ = memory(-r.bytes) // Only taking fails.
	r.partial, r.before, r.bytes = names.Catalog{}, "", 0
}

// once leaves out what is listed twice: what is made or deleted meanwhile can shift the pages.
func once(entries []names.Entry) []names.Entry {
	seen := map[string]bool{}
	return slices.DeleteFunc(entries, func(e names.Entry) bool {
		again := seen[e.ID]
		seen[e.ID] = true
		return again
	})
}
