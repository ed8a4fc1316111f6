/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package inventory

import (
	"errors"
	"net/http"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

const (
	// pageSize is the usual number of agents in a page.
	pageSize = 100
	// mostPatience bounds the number of pages that have to fit before a larger one is tried.
	mostPatience = 64
)

// paging chooses the number of agents in the next page. A page that is too large for a response, or takes longer than a request may, is
// tried again with a quarter; after a page that fits the size is doubled, up to the usual one. Each time that the doubled page is too
// large, twice as many pages (64 at most) have to fit before the next try; once one fits, one page is enough again. So one huge agent
// costs a few pages, and if all are large hardly any page fails.
type paging struct {
	size     int // that fitted last; zero for the usual one
	fitted   int // pages of that size in a row
	patience int // how many have to fit before the size grows; zero is one
}

// next returns the number of agents to request in the next page.
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

// fits records that a page of this size fitted. The last page does not count: it may have fewer agents.
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

// tooLarge records that a page of this size was too large.
func (p *paging) tooLarge(size int) {
	if p.size > 0 && size > p.size {
		p.patience = min(2*max(p.patience, 1), mostPatience)
		p.fitted = 0
		return
	}
	*p = paging{size: max(size/4, 1)}
}

// pageSize returns the number of agents to request in the next page.
func (r *reader) pageSize() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.paging.next()
}

// paged records the outcome of a page of this size, and reports whether a smaller one is requested in its place. If the first page does
// not come in time, Calyptia Cloud may respond to nothing: then that is left to the next list, unless a smaller one came before.
func (r *reader) paged(size int, first bool, page *fetched) (again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case page.err == nil:
		r.paging.fits(size, page.Before == "")
		return false
	case errors.Is(page.err, cloud.ErrTooLarge):
		again = true
	case late(page.err):
		again = !first || r.paging.size > 0 && size > r.paging.size
	default:
		return false
	}
	r.paging.tooLarge(size)
	return again && size > 1
}

// late reports whether a response did not come in time, which a smaller one may.
func late(err error) bool {
	e, ok := cloud.AsError(err)
	return ok && !e.NotSent && (e.Reason == cloud.ReasonTimeout || e.Status == http.StatusGatewayTimeout)
}
