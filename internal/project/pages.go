/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// room is how many pages wait to be put together, beside the one that is and the one that is fetched. Each takes
	// memory.
	room = 1
	// mostWords bounds what is kept of one agent's texts, in bytes.
	mostWords = 4 << 10
)

// Entry is what a list tells of one remote agent.
type Entry struct {
	ID        string
	MachineID string
	CreatedAt time.Time
	// Reported is true if the agent ever sent metrics.
	Reported bool
	// Remote is the agent without its token, configuration and metadata; nil if its texts are too long to be
	// kept, or if it comes from no list.
	Remote *cloud.Agent
	// RawConfig and Metadata are the hashes of what Remote lacks.
	RawConfig, Metadata string
}

func entryOf(a *cloud.Agent) Entry {
	e := Entry{ID: a.ID, MachineID: a.MachineID, CreatedAt: a.CreatedAt, Reported: a.FirstMetricsAddedAt != nil}
	size := 0
	for _, texts := range [][]string{a.Flags, a.Tags, {a.Name, a.Type, a.Version, a.Edition, a.Status, a.OS, a.Arch, a.EnvironmentName}} {
		for _, text := range texts {
			size += len(text) + 16
		}
	}
	if size > mostWords {
		return e
	}
	light := *a
	light.RawConfigHash, light.Metadata, light.Token = "", nil, cloud.Token{}
	e.Remote, e.RawConfig, e.Metadata = &light, a.RawConfigHash, cloud.Hash(cloud.Canonical(a.Metadata))
	return e
}

// fetched is a page on its way from the service to who puts the list together.
type fetched struct {
	*cloud.RawPage
	at   moment    // when it was asked for
	err  error     // in its place; then it is the last
	read chan read // what is in it, once
}

// read is what is in a page, or why that cannot be told.
type read struct {
	entries []Entry
	err     error
}

// begin has the page read while others are fetched and read: on a start, new Agents wait for the list.
func (f *fetched) begin() {
	f.read = make(chan read, 1)
	go func() {
		page, err := f.Digests()
		if err != nil {
			f.read <- read{err: err}
			return
		}
		entries := make([]Entry, len(page.Agents))
		for i := range page.Agents {
			entries[i] = entryOf(&page.Agents[i])
		}
		f.read <- read{entries: entries}
	}()
}

// readAll reads all pages.
func (p *Project) readAll(ctx context.Context) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan *fetched, room)
	go p.fetchAll(ctx, pages)
	var entries []Entry
	for page := range pages {
		if page.err != nil {
			return nil, page.err
		}
		got := <-page.read
		p.learn(page.at, got.err)
		if got.err != nil {
			return nil, got.err
		}
		entries = append(entries, got.entries...)
		if most := p.registry.opts.MostAgents; page.Before != "" && len(entries) > most {
			return nil, fault.Retryablef(v1alpha1.ReasonInvalidResponse, "the service lists more than %d agents", most)
		}
		if page.Before != "" && len(got.entries) == 0 {
			return nil, inACircle()
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, givenUp(err) // What was read may not be all.
	}
	return entries, nil
}

// fetchAll fetches all pages, in smaller ones where a page of large configurations is too long for an answer.
// Cursors that lead in a circle are an invalid answer.
func (p *Project) fetchAll(ctx context.Context, pages chan<- *fetched) {
	defer close(pages)
	cursors := sets.New[string]()
	var options cloud.ListOptions
	for more := true; more; {
		options.Last = p.listing.pageSize()
		page := p.fetch(ctx, options)
		p.listing.paged(options.Last, &page)
		switch {
		case errors.Is(page.err, cloud.ErrTooLarge) && options.Last > 1:
			continue
		case page.err != nil || page.Before == "":
			more = false
		case cursors.Has(page.Before):
			page, more = fetched{err: inACircle()}, false
		default:
			cursors.Insert(page.Before)
			options.Before = page.Before
		}
		if page.err == nil {
			page.begin()
		}
		select {
		case pages <- &page:
		case <-ctx.Done():
			return
		}
	}
}

func givenUp(err error) error {
	return fault.Retryablef(v1alpha1.ReasonUnavailable, "the list of remote agents was given up").Because(err)
}

func inACircle() error {
	return fault.Retryablef(v1alpha1.ReasonInvalidResponse, "the service's list of agents leads in a circle")
}

// fetch gets one page within the budget. It may wait, because no worker does this. Only who has read the page may
// learn from it that the service answers.
func (p *Project) fetch(ctx context.Context, options cloud.ListOptions) fetched {
	if err := p.usable(); err != nil {
		return fetched{err: err}
	}
	if err := p.budget.wait(ctx); err != nil {
		return fetched{err: givenUp(err)}
	}
	if err := p.usable(); err != nil {
		return fetched{err: err} // The service asked to wait while the budget was waited for.
	}
	p.mu.Lock()
	c, projectID, now := p.client, p.place.ProjectID, moment{p.version, p.proofs}
	p.mu.Unlock()
	page, err := c.Fetch(ctx, projectID, options)
	if err != nil {
		p.learn(now, err)
	}
	return fetched{RawPage: page, at: now, err: err}
}
