/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The names of the calls, as errors show them.
const (
	opRegister = "register agent"
	opGet      = "read agent"
	opUpdate   = "update agent"
	opDelete   = "delete agent"
	opList     = "list agents"
)

// Register creates an agent in the project of the token. It is not idempotent:
// after an error, Error.NothingMade says whether a retry is safe.
func (c *Client) Register(ctx context.Context, r Registration) (*Registered, error) {
	if !utf8.ValidString(r.RawConfig) {
		return nil, unsendable(opRegister, errRawConfig)
	}
	registered := &Registered{}
	err := c.do(ctx, call{
		op: opRegister, method: http.MethodPost, path: []string{"agents"}, body: r,
		success: []int{http.StatusCreated, http.StatusOK},
		accept: func(a *response) error {
			if json.Unmarshal(a.body, registered) != nil {
				return errNotAPI
			}
			if registered.ID == uuid.Nil.String() { // What hides IDs may write zeros; no agent has this one.
				return errNoAgentID
			}
			registered.RespondedAt = respondedAt(a.header)
			return agentID(registered.ID)
		},
	})
	if err != nil {
		return nil, err
	}
	return registered, nil
}

// Get reads an agent.
func (c *Client) Get(ctx context.Context, id string) (*Agent, error) {
	agent := &Agent{}
	err := c.do(ctx, call{
		op: opGet, method: http.MethodGet, path: []string{"agents", id}, shortens: true,
		success: []int{http.StatusOK},
		accept: func(a *response) error {
			if readAgent(a.body, agent) != nil {
				return errNotAPI
			}
			if agentID(agent.ID) == nil && agent.ID != NormalID(id) {
				return errOtherAgent
			}
			return agent.complete()
		},
	})
	if err != nil {
		return nil, err
	}
	return agent, nil
}

// Update changes only the fields that the update names. It is idempotent.
func (c *Client) Update(ctx context.Context, id string, u Update) error {
	if u.RawConfig != nil && !utf8.ValidString(*u.RawConfig) {
		return unsendable(opUpdate, errRawConfig)
	}
	if u.Flags != nil && *u.Flags == nil {
		// The API ignores null.
		u.Flags = &[]string{}
	}
	return c.do(ctx, call{
		op: opUpdate, method: http.MethodPatch, path: []string{"agents", id}, body: u,
		success: done, maxBody: maxDoneBody, partial: true, accept: acceptDone,
	})
}

// Delete deletes an agent. It is idempotent, but a repetition returns an error for which IsGone is true.
func (c *Client) Delete(ctx context.Context, id string) error {
	return c.do(ctx, call{
		op: opDelete, method: http.MethodDelete, path: []string{"agents", id},
		success: done, maxBody: maxDoneBody, partial: true, accept: acceptDone,
	})
}

// List reads a page of a project's agents, newest first. Not every installation has this route.
func (c *Client) List(ctx context.Context, projectID string, o ListOptions) (*Page, error) {
	raw, err := c.Fetch(ctx, projectID, o)
	if err != nil {
		return nil, err
	}
	return raw.Page()
}

// Fetch gets a page as List does, and leaves the decoding to Page or Digests,
// so that the next page can be fetched meanwhile.
func (c *Client) Fetch(ctx context.Context, projectID string, o ListOptions) (*RawPage, error) {
	query := url.Values{}
	if o.Last > 0 {
		query.Set("last", strconv.Itoa(o.Last))
	}
	if o.Before != "" {
		query.Set("before", o.Before)
	}
	if o.Name != "" {
		query.Set("name", o.Name)
	}
	page := &RawPage{buffer: pageBuffers.Get().(*bytes.Buffer)}
	page.buffer.Reset()
	err := c.do(ctx, call{
		op: opList, method: http.MethodGet, path: []string{"projects", projectID, "agents"}, query: query,
		success: []int{http.StatusOK}, buffer: page.buffer, shortens: o.Last == 1,
		accept: func(a *response) error { return page.take(a, o.Before) },
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// pageBuffers hold pages until they are read. Pages are about equally long; growing a new buffer for each would cost a
// multiple of that. Buffers of more than mostPooled are left out: a small page would hold one while it waits for the network.
var pageBuffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

const mostPooled = 1 << 20

func (p *RawPage) take(a *response, before string) (err error) {
	p.status = a.status
	if p.Before, err = nextCursor(a.header.Values("Link")); err != nil {
		return err
	}
	if p.Before != "" && p.Before == before {
		return errSameCursor
	}
	p.leave, a.leave = a.leave, nil // The page is read later.
	return nil
}

// Page reads the agents: all or none, because decisions depend on what is absent. An error is an *Error, as if the request
// had failed. Call either Page or Digests, and only once.
func (p *RawPage) Page() (*Page, error) {
	defer p.Drop()
	page, err := whole(p.buffer.Bytes())
	page.Before = p.Before
	if err != nil {
		return nil, p.unreadable(err)
	}
	return &page, nil
}

// Digests reads the agents as Page does, but only the hashes of their configurations, at a fraction of the cost. It calls visit with
// each, and ends at visit's first error, which it returns. After an error none of the agents counts.
func (p *RawPage) Digests(visit func(*Agent) error) error {
	defer p.Drop()
	var stopped error
	err := digests(p.buffer.Bytes(), func(a *Agent) error {
		stopped = visit(a)
		return stopped
	})
	if err != nil && stopped == nil {
		return p.unreadable(err)
	}
	return stopped
}

// Empty reports whether a page has no elements. Call it before the page is read.
func (p *RawPage) Empty() bool {
	elements, ok := bytes.CutPrefix(bytes.TrimSpace(p.buffer.Bytes()), []byte("["))
	return ok && string(bytes.TrimSpace(elements)) == "]"
}

// Drop releases the memory of a page that is not read.
func (p *RawPage) Drop() {
	if p.buffer.Cap() <= mostPooled {
		pageBuffers.Put(p.buffer)
	}
	if p.leave != nil {
		p.leave()
	}
	p.buffer, p.leave = nil, nil
}

func (p *RawPage) unreadable(err error) *Error {
	return &Error{Op: opList, Class: ClassRetryable, Reason: ReasonInvalidResponse, Status: p.status, Err: err}
}

// done are the statuses of a request whose response has no content.
var done = []int{http.StatusNoContent, http.StatusOK, http.StatusAccepted}

// acceptDone accepts any body that may be the API's: absent, endless or cut short, because its content is not needed. But an
// HTML page with status 200 comes from a portal in between, and nothing was done.
func acceptDone(a *response) error {
	body := bytes.TrimSpace(a.body)
	switch {
	case a.status == http.StatusNoContent:
		return nil
	case a.err == nil && len(body) > 0 && !json.Valid(body):
		return errNotAPI
	case a.err != nil && strings.Contains(strings.ToLower(a.header.Get("Content-Type")), "html"):
		return errNotAPI
	case len(body) > 0 && body[0] != '{' && body[0] != '[' && a.err != nil:
		return errNotAPI
	case saysError(body):
		return errNotAPI
	}
	return nil
}

// saysError reports whether an object, possibly truncated, has an error message.
func saysError(body []byte) bool {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return false
	}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return false
		}
		var value any
		if decoder.Decode(&value) != nil {
			return false
		}
		if text, ok := value.(string); ok && key == "error" && text != "" {
			return true
		}
	}
	return false
}

func agentID(id string) error {
	if !isUUID(id) {
		return errNoAgentID
	}
	return nil
}
