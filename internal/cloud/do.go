/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"
)

var (
	errSegment   = errors.New("the ID must not be empty or a dot segment")
	errRawConfig = errors.New("the raw config is not valid UTF-8")
)

// call is one of the five calls.
type call struct {
	op, method string
	path       []string // segments after /v1
	query      url.Values
	body       any // nil: none is sent
	success    []int
	maxBody    int64         // of this call at most; 0: the common limit
	partial    bool          // accept judges a body that is not whole, too
	shortens   bool          // a body that is too large is read with its long strings shortened
	buffer     *bytes.Buffer // for the body; nil: one of its own
	accept     func(*answer) error
}

// answer is what came back. err says why the body is not whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error
}

// unsendable is the error of a call that was never begun.
func unsendable(op string, err error) *Error {
	return &Error{Op: op, Class: ClassTerminal, Reason: ReasonInvalid, NotSent: true, Err: err}
}

// do is the one path of all calls: bounded in time and bytes, never following
// a redirect, ending in nil or in an *Error.
func (c *Client) do(ctx context.Context, call call) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer c.leaveDead(ctx)
	request, failure := c.request(ctx, call)
	if failure != nil {
		return failure
	}
	if err := ctx.Err(); err != nil {
		return &Error{
			Op: call.op, Class: ClassRetryable, Reason: ReasonTimeout, NotSent: true,
			Err: &cause{text: overdue(ctx, "", false), err: err},
		}
	}
	trace := &progress{}
	request = request.WithContext(httptrace.WithClientTrace(ctx, trace.hooks()))
	// The transport itself, not http.Client: that one follows redirects and
	// puts whole URLs into its errors.
	response, err := c.tripper.RoundTrip(request)
	if err != nil {
		return c.unanswered(request, call.op, err, trace)
	}
	defer func() { _ = response.Body.Close() }()
	a := &answer{status: response.StatusCode, header: response.Header}
	buffer := cmp.Or(call.buffer, &bytes.Buffer{})
	limit := limitOf(c.maxBody, call.maxBody)
	a.body, a.err = readBody(buffer, response.Body, limit)
	if call.shortens && a.status == http.StatusOK && errors.Is(a.err, ErrTooLarge) {
		a.err = shorten(buffer, response.Body, limit)
		a.body = buffer.Bytes()
	}
	if !slices.Contains(call.success, a.status) {
		a.err = bodyTrouble(ctx, a.err)
		return c.refused(call, a)
	}
	reason, cause := ReasonInvalidResponse, error(nil)
	if a.err != nil && !call.partial {
		reason, cause = bodyReason(ctx, a.err), bodyTrouble(ctx, a.err)
	} else if cause = call.accept(a); cause == nil {
		return nil
	}
	return &Error{Op: call.op, Class: ClassRetryable, Reason: reason, Status: a.status, Err: cause}
}

// leaveDead closes the connections that no call uses, after one ran out of
// time: what killed its connection may have killed them too, and each would
// cost a further call its time.
func (c *Client) leaveDead(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.transport.CloseIdleConnections()
	}
}

// request builds a call's request, or says why it cannot be sent.
func (c *Client) request(ctx context.Context, call call) (*http.Request, *Error) {
	target := *c.base
	target.Path += "/v1"
	raw := c.base.EscapedPath() + "/v1"
	for _, segment := range call.path {
		// Dots are not escaped, and a proxy could resolve them.
		if segment == "" || segment == "." || segment == ".." {
			return nil, unsendable(call.op, errSegment)
		}
		target.Path += "/" + segment
		raw += "/" + url.PathEscape(segment)
	}
	target.RawPath = raw
	target.RawQuery = call.query.Encode()
	name, value, err := c.credential.header()
	if err != nil {
		failure := unsendable(call.op, err)
		failure.Class, failure.Reason = ClassWaiting, ReasonUnauthorized
		return nil, failure
	}
	var body io.Reader
	if call.body != nil {
		encoded, err := json.Marshal(call.body)
		if err != nil {
			return nil, unsendable(call.op, errors.New("the request is not valid JSON"))
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, call.method, target.String(), body)
	if err != nil {
		return nil, unsendable(call.op, errors.New("the URL of the call is malformed"))
	}
	request.Header.Set(name, value)
	request.Header.Set("Accept", "application/json")
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.userAgent != "" {
		request.Header.Set("User-Agent", c.userAgent)
	}
	return request, nil
}

// unanswered makes the error of a call that had no answer.
func (c *Client) unanswered(request *http.Request, op string, err error, trace *progress) *Error {
	e := &Error{Op: op, Class: ClassRetryable, Reason: ReasonNetwork, NotSent: trace.notSent()}
	if inner, ok := errors.AsType[*url.Error](err); ok {
		err = inner.Err // a wrapper's url.Error would show the whole URL
	}
	proxy := ""
	if used, _ := c.transport.Proxy(request); used != nil {
		proxy = Clean(used.Host, maxName)
	}
	var text string
	switch {
	case outOfTime(request.Context(), err):
		e.Reason, text = ReasonTimeout, overdue(request.Context(), proxy, !e.NotSent)
	case trace.answered.Load() && !isNetwork(err):
		// The transport's words quote what the server wrote.
		e.Reason, text = ReasonInvalidResponse, "the answer is not HTTP, cut short, or its headers exceed 64 KiB"
	default:
		text = unreached(err, proxy, !e.NotSent)
	}
	e.Err = &cause{text: c.ownWords(text), err: err}
	return e
}

// bodyTrouble gives a body's reading error a text fit to be shown.
func bodyTrouble(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrTooLarge):
		return err
	case outOfTime(ctx, err):
		return &cause{text: "the answer did not end in time", err: err}
	default:
		return &cause{text: errTruncated.Error(), err: err}
	}
}

func bodyReason(ctx context.Context, err error) Reason {
	switch {
	case errors.Is(err, ErrTooLarge):
		return ReasonTooLarge
	case outOfTime(ctx, err):
		return ReasonTimeout
	case isNetwork(err):
		return ReasonNetwork
	default:
		return ReasonInvalidResponse
	}
}

func limitOf(configured, ofCall int64) int64 {
	limit := cmp.Or(max(configured, 0), defaultMaxBody)
	if ofCall > 0 {
		limit = min(limit, ofCall)
	}
	return limit
}

// readBody reads a whole body, so that the connection can be used again, or
// gives up on one that is longer than the limit. It returns what came.
func readBody(buffer *bytes.Buffer, body io.Reader, limit int64) ([]byte, error) {
	read, err := buffer.ReadFrom(io.LimitReader(body, limit+1))
	if err == nil && read > limit {
		err = ErrTooLarge
	}
	return buffer.Bytes(), err
}

func outOfTime(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[*net.OpError](err)
	return ok
}

// progress watches how far a request came.
type progress struct{ sought, had, answered atomic.Bool }

func (p *progress) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { p.sought.Store(true) },
		GotConn:              func(httptrace.GotConnInfo) { p.had.Store(true) },
		WroteHeaderField:     func(string, []string) { p.had.Store(true) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { p.had.Store(true) },
		GotFirstResponseByte: func() { p.answered.Store(true) },
	}
}

// notSent wants proof: a connection was asked for and none was ever had, in
// any try. A transport that reports neither leaves it open.
func (p *progress) notSent() bool { return p.sought.Load() && !p.had.Load() }
