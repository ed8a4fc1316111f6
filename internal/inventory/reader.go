/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// pagesAhead is how many fetched pages may wait to be merged. Each takes memory.
const pagesAhead = 1

// reader reads whole lists, and remembers which page size fits.
type reader struct {
	source Source
	most   int         // agents
	known  func() bool // whether agents exist, before a list shows them
	delays Delays

	mu      sync.Mutex
	paging  paging
	waited  time.Duration // by the newest list, before pages that are requested again
	trouble error         // why the next page is requested again; nil if it is not
}

func (r *reader) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.paging = paging{}
}

// fetched is a page between the fetch and the merge.
type fetched struct {
	*cloud.RawPage
	size  int         // the number of agents that was asked for
	learn func(error) // called with the outcome of reading the page
	err   error       // instead of a page; then it is the last
	read  chan read   // its content, sent once
}

// read is the content of a page, or why it cannot be read.
type read struct {
	entries []Entry
	err     error
}

// begin reads the page concurrently with other pages: after a start, new Agents wait for the list. It charges for what it keeps, while
// it reads: a page may have a hundred thousand tiny agents.
func (f *fetched) begin(taken *Charge) {
	f.read = make(chan read, 1)
	go func() {
		var entries []Entry
		err := f.Digests(func(a *cloud.Agent) error {
			e := entryOf(a)
			entries = append(entries, e)
			return taken.Add(weigh(&e))
		})
		f.read <- read{entries, err}
	}()
}

// all reads all pages, and charges for what it keeps.
func (r *reader) all(ctx context.Context, taken *Charge) ([]Entry, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pages := make(chan *fetched, pagesAhead)
	go r.fetchAll(ctx, taken, pages)
	var entries []Entry
	count, size := 0, 0
	for page := range pages {
		count, size = count+1, page.size
		if page.err != nil {
			return nil, page.err
		}
		got := <-page.read
		if got.err != nil || len(got.entries) > 0 {
			page.learn(got.err)
		}
		if got.err != nil {
			return nil, got.err
		}
		entries = append(entries, got.entries...)
		if most := r.most; page.Before != "" && len(entries) > most {
			return nil, fault.Retryablef(v1alpha1.ReasonListTooLarge,
				"the API lists more than %d agents: delete agents that are not needed, or divide the project", most)
		}
		if page.Before != "" && len(got.entries) == 0 {
			return nil, inACircle()
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, Canceled(err) // The list may be incomplete.
	}
	if count == 1 && len(entries) == size && size > 1 {
		return entries, r.ends(ctx)
	}
	return entries, nil
}

// ends confirms that a list ends after one full page. A proxy may drop the Link header, which names the next page: then a page of one
// agent has none either.
func (r *reader) ends(ctx context.Context) error {
	raw, learn, err := r.source.Fetch(ctx, cloud.ListOptions{Last: 1})
	if err != nil {
		return err
	}
	page, err := raw.Page()
	learn(err)
	if err == nil && page.Before == "" && len(page.Agents) == 1 {
		err = fault.Retryablef(v1alpha1.ReasonInvalidResponse, "the list of remote agents has no Link header, so that only its first page "+
			"is known: have each proxy between the operator and Calyptia Cloud pass that header on")
	}
	return err
}

// fetchAll fetches all pages, and may sleep. Cursors that form a loop are an invalid response.
func (r *reader) fetchAll(ctx context.Context, taken *Charge, pages chan<- *fetched) {
	defer close(pages)
	cursors := sets.New[[sha256.Size]byte]() // Hashes, because a cursor may be long.
	before := ""
	for more := true; more; {
		page := r.fetch(ctx, before)
		cursor := [sha256.Size]byte{}
		if page.err == nil {
			cursor = sha256.Sum256([]byte(page.Before))
		}
		switch {
		case page.err != nil || page.Before == "":
			more = false
		case cursors.Has(cursor):
			page.Drop()
			page, more = &fetched{err: inACircle()}, false
		default:
			cursors.Insert(cursor)
			before = page.Before
		}
		if page.err == nil {
			page.begin(taken)
		}
		select {
		case pages <- page:
		case <-ctx.Done():
			return
		}
	}
}

// Canceled is the failure of a list whose context was canceled.
func Canceled(err error) error {
	return fault.Retryablef(v1alpha1.ReasonUnavailable, "reading the list of remote agents was canceled").Because(err)
}

func inACircle() error {
	return fault.Retryablef(v1alpha1.ReasonInvalidResponse, "the pages of the agent list form a loop")
}
