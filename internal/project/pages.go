/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package project

import (
	"cmp"
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

const (
	// pageSize is how many agents are asked for at once.
	pageSize = 100
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
	light.RawConfig, light.Metadata, light.Token = "", nil, cloud.Token{}
	e.Remote, e.RawConfig, e.Metadata = &light, cloud.Hash(a.RawConfig), cloud.Hash(cloud.Canonical(a.Metadata))
	return e
}

// size is how many agents a page is asked for.
func (l *listing) size() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return cmp.Or(l.pageSize, pageSize)
}

func (l *listing) shrink(from int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pageSize = max(from/4, 1)
	return l.pageSize
}

// fetched is a page on its way from the service to who reads it.
type fetched struct {
	*cloud.RawPage
	at  moment // when it was asked for
	err error  // in its place; then it is the last
}

// readAll reads all pages. While one is read the next is fetched.
func (p *Project) readAll(ctx context.Context) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan fetched) // Without a buffer: no more than one page is ahead.
	go p.fetchAll(ctx, pages)
	var entries []Entry
	for raw := range pages {
		if raw.err != nil {
			return nil, raw.err
		}
		page, err := raw.Page()
		p.learn(raw.at, err)
		if err != nil {
			return nil, err
		}
		for i := range page.Agents {
			entries = append(entries, entryOf(&page.Agents[i]))
		}
		if most := p.registry.opts.MostAgents; page.Before != "" && len(entries) > most {
			return nil, fault.Retryablef(v1alpha1.ReasonInvalidAnswer, "the service lists more than %d agents", most)
		}
		if page.Before != "" && len(page.Agents) == 0 {
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
func (p *Project) fetchAll(ctx context.Context, pages chan<- fetched) {
	defer close(pages)
	cursors := sets.New[string]()
	options := cloud.ListOptions{Last: p.listing.size()}
	for more := true; more; {
		page := p.fetch(ctx, options)
		switch {
		case errors.Is(page.err, cloud.ErrTooLarge) && options.Last > 1:
			options.Last = p.listing.shrink(options.Last)
			continue
		case page.err != nil || page.Before == "":
			more = false
		case cursors.Has(page.Before):
			page, more = fetched{err: inACircle()}, false
		default:
			cursors.Insert(page.Before)
			options.Before = page.Before
		}
		select {
		case pages <- page:
		case <-ctx.Done():
			return
		}
	}
}

func givenUp(err error) error {
	return fault.Retryablef(v1alpha1.ReasonUnavailable, "the list of remote agents was given up").Because(err)
}

func inACircle() error {
	return fault.Retryablef(v1alpha1.ReasonInvalidAnswer, "the service's list of agents leads in a circle")
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
