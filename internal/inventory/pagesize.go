/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"errors"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const (
	// pageSize is how many agents are asked for at once.
	pageSize = 100
	// mostPatience bounds how many pages have to fit before a larger one is tried.
	mostPatience = 64
)

// paging decides how many agents a page is asked for. After a page that is too large for a response it asks for a
// quarter; after a page that fitted it asks for twice as many, up to the usual size. Each time that the doubled page is
// too large it goes back to what fitted, and twice as many pages (64 at most) have to fit before the next try; once one
// fits, one page is enough again. So one huge agent costs a few pages, and where all are large hardly any fails.
type paging struct {
	size     int // that fitted last; zero for the usual one
	fitted   int // pages of that size in a row
	patience int // how many have to fit before the size grows; zero is one
}

// next is how many agents the next page is asked for.
func (p *paging) next() int {
	switch {
	case p.size == 0:
		return pageSize
	case p.fitted < max(p.patience, 1):
		return p.size
	default:
		return min(2*p.size, pageSize)
	}
}

// fits notes that a page of this size fitted. A last page shows nothing: there may have been fewer agents left.
func (p *paging) fits(size int, last bool) {
	switch {
	case last || p.size == 0:
	case size > p.size:
		*p = paging{size: size, fitted: 1}
		if size == pageSize {
			*p = paging{}
		}
	default:
		p.fitted++
	}
}

// tooLarge notes that a page of this size was too large.
func (p *paging) tooLarge(size int) {
	if p.size > 0 && size > p.size {
		p.patience = min(2*max(p.patience, 1), mostPatience)
		p.fitted = 0
		return
	}
	*p = paging{size: max(size/4, 1)}
}

// pageSize returns how many agents the next page is asked for.
func (r *reader) pageSize() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paging.next()
}

// paged notes what came of a page of this size.
func (r *reader) paged(size int, page *fetched) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case page.err == nil:
		r.paging.fits(size, page.Before == "")
	case errors.Is(page.err, cloud.ErrTooLarge):
		r.paging.tooLarge(size)
	}
}
