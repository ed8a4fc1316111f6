/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package catalog shares the fleets and environments of a project among its
// Agents: thousands of Agents that name one fleet cost one list.
package catalog

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/names"
)

// Limits of all catalogs.
const (
	// MissingInterval is the least time between two lists for want of a name.
	MissingInterval = 30 * time.Second
	// mostPages bounds what is read for one catalog.
	mostPages = 200
)

// ErrBusy says that somebody else is reading the catalog.
var ErrBusy = errors.New("the catalog is being read")

var errTooLong = errors.New("the API lists too many fleets or environments: set the ID instead of the name")

// Fetch reads one page.
type Fetch func(ctx context.Context, kind cloud.NamedKind, o cloud.NamedOptions) (*cloud.NamedPage, error)

// Project is the catalogs of one endpoint. What it holds is lost with the process: it costs one list again.
type Project struct {
	clock clock.PassiveClock
	kinds map[names.Kind]*shelf
}

// shelf is the catalog of one kind. reading is held while a list is under way, mu for a moment.
type shelf struct {
	reading sync.Mutex
	mu      sync.Mutex
	catalog names.Catalog
}

// New returns catalogs that are not read yet.
func New(clock clock.PassiveClock) *Project {
	return &Project{clock: clock, kinds: map[names.Kind]*shelf{names.Fleet: {}, names.Environment: {}}}
}

// Get is what is known; its At is zero before the first read.
func (p *Project) Get(kind names.Kind) names.Catalog {
	s := p.kinds[kind]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catalog
}

var listed = map[names.Kind]cloud.NamedKind{names.Fleet: cloud.Fleets, names.Environment: cloud.Environments}

// Read lists everything of a kind, unless a list was begun after notBefore. It fails with ErrBusy while another caller
// reads, so that no worker waits for it.
func (p *Project) Read(ctx context.Context, kind names.Kind, notBefore time.Time, fetch Fetch) error {
	s := p.kinds[kind]
	if !s.reading.TryLock() {
		return ErrBusy
	}
	defer s.reading.Unlock()
	if at := p.Get(kind).At; !at.IsZero() && at.After(notBefore) {
		return nil
	}
	fresh := names.Catalog{At: p.clock.Now()}
	for options := (cloud.NamedOptions{}); ; {
		page, err := fetch(ctx, listed[kind], options)
		if fresh.Unlisted = err != nil && options.Before == "" && cloud.LacksRoute(err); fresh.Unlisted {
			break
		}
		if err != nil {
			return err
		}
		for _, item := range page.Items {
			fresh.Entries = append(fresh.Entries, names.Entry{ID: item.ID, Name: item.Name})
		}
		if page.Before == "" {
			break
		}
		if options.Before = page.Before; len(fresh.Entries) > mostPages*100 {
			return errTooLong
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catalog = fresh
	return nil
}
