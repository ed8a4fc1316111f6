/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
)

// NamedKind is a kind of named object of a project that agents refer to by ID.
type NamedKind string

const (
	// Fleets of a project. Their names need not be unique.
	Fleets NamedKind = "fleets"
	// Environments of a project. Their names are unique.
	Environments NamedKind = "environments"
)

// Named is a fleet or an environment.
type Named struct {
	// ID of a fleet is a UUID in lower case; of an environment any text.
	ID string `json:"id"`
	// Name is empty if the API's cannot be shown: too long, or with control characters.
	Name string `json:"name"`
}

// NamedPage is a page of fleets or environments, newest first.
type NamedPage struct {
	Items []Named
	// Before is the cursor of the next page; empty on the last one.
	Before string
}

// NamedOptions choose a page. The zero value is the first page.
type NamedOptions struct {
	Before string // NamedPage.Before of the page before
}

// maxNamed bounds the ID and the name of a fleet or environment, in characters.
const maxNamed = 128

var (
	errNamed     = errors.New("not an array of objects with an id and a name")
	errSameNamed = errors.New("the next page's cursor is this page's")
)

// ListNamed reads a page of a project's fleets or environments. The API may lack either list: see LacksRoute.
func (c *Client) ListNamed(ctx context.Context, kind NamedKind, projectID string, o NamedOptions) (*NamedPage, error) {
	query := url.Values{}
	if o.Before != "" {
		query.Set("before", o.Before)
	}
	page := &NamedPage{}
	err := c.do(ctx, call{
		op: "list " + string(kind), method: http.MethodGet, path: []string{"projects", projectID, string(kind)}, query: query,
		success: []int{http.StatusOK},
		accept: func(a *response) (err error) {
			if page.Items, err = readNamed(kind, a.body); err != nil {
				return err
			}
			if page.Before, err = nextCursor(a.header.Values("Link")); err != nil {
				return err
			}
			if page.Before != "" && page.Before == o.Before {
				return errSameNamed
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// readNamed reads all items or none, because a missing name is meaningful.
func readNamed(kind NamedKind, body []byte) ([]Named, error) {
	items := []Named{}
	err := each(body, func(decoder *json.Decoder) error {
		var item Named
		if decoder.Decode(&item) != nil {
			return errNamed
		}
		if kind == Fleets {
			item.ID = NormalID(item.ID)
		}
		if item.ID == "" || len(item.ID) > maxNamed || kind == Fleets && !isUUID(item.ID) || Clean(item.ID, maxNamed) != item.ID {
			return errNamed
		}
		if Clean(item.Name, maxNamed) != item.Name {
			item.Name = ""
		}
		if len(items) < mostListed { // More than a catalog takes.
			items = append(items, item)
		}
		return nil
	})
	if err != nil {
		return nil, errNamed
	}
	return items, nil
}

// LacksRoute reports whether an error says that the API lacks this list.
func LacksRoute(err error) bool {
	e, ok := AsError(err)
	return ok && (e.Status == http.StatusNotFound || e.Status == http.StatusMethodNotAllowed || e.Status == http.StatusNotImplemented)
}
