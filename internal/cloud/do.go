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

// call describes a request, and how to accept its response.
type call struct {
	op, method string
	path       []string // segments after /v1
	query      url.Values
	body       any // nil: none is sent
	success    []int
	maxBody    int64         // of this request at most; 0: the common limit
	partial    bool          // accept also gets incomplete bodies
	shortens   bool          // a body that is too large is shortened
	buffer     *bytes.Buffer // for the body; nil: a new one
	accept     func(*response) error
}

// response is the response to a call. err says why the body is incomplete.
type response struct {
	status int
	header http.Header
	body   []byte
	err    error
	leave  func() // to be called when the body is not needed any more; may be nil
}

// unsendable returns the error of a request that was never sent.
func unsendable(op string, err error) *Error {
	return &Error{Op: op, Class: ClassTerminal, Reason: ReasonInvalid, NotSent: true, Err: err}
}

// do sends every request: bounded in time and bytes, and without following redirects. It returns nil or an *Error.
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
	// The transport, not http.Client, which follows redirects and puts whole URLs into its errors.
	raw, err := c.tripper.RoundTrip(request)
	if err != nil {
		return c.noResponse(request, call.op, err, trace)
	}
	defer func() { _ = raw.Body.Close() }()
	a := &response{status: raw.StatusCode, header: raw.Header}
	defer func() {
		if a.leave != nil {
			a.leave()
		}
	}()
	if a.status == http.StatusSwitchingProtocols {
		return c.refused(call, a) // Its body is the connection, which knows no context: a read could take for ever.
	}
	c.receive(ctx, call, a, raw.Body)
	a.beginReading(ctx, c.reading, c.owner)
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

// receive reads a body. If it is large, that waits for a place in the Room.
func (c *Client) receive(ctx context.Context, call call, a *response, body io.Reader) {
	buffer := cmp.Or(call.buffer, &bytes.Buffer{})
	limit := limitOf(c.maxBody, call.maxBody)
	small := limit
	if c.room != nil {
		small = min(limit, smallBody)
	}
	a.body, a.err = readBody(buffer, body, small)
	if small < limit && errors.Is(a.err, ErrTooLarge) {
		leave, err := c.room.enter(ctx, c.owner)
		if err != nil {
			a.err = err
			return
		}
		a.leave = leave
		a.body, a.err = readBody(buffer, body, limit-int64(buffer.Len()))
	}
	if call.shortens && a.status == http.StatusOK && errors.Is(a.err, ErrTooLarge) {
		a.err = shorten(buffer, body, limit)
		a.body = buffer.Bytes()
	}
}

// beginReading waits for a place among the responses that are read at once: reading takes many times their bytes. It waits after the
// body, so that a slow body holds none, and without a limit, because whoever has a place only computes.
func (a *response) beginReading(ctx context.Context, reading *Room, owner string) {
	if reading == nil {
		return
	}
	end, _ := reading.enter(context.WithoutCancel(ctx), owner)
	leave := a.leave
	a.leave = func() {
		end()
		if leave != nil {
			leave()
		}
	}
}

// leaveDead closes the idle connections after a request timed out: they may
// be dead too, and each would cost a further request its time.
func (c *Client) leaveDead(ctx context.Context) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.transport.CloseIdleConnections()
	}
}

// request builds the HTTP request of a call, or says why it cannot be sent.
func (c *Client) request(ctx context.Context, call call) (*http.Request, *Error) {
	target := *c.base
	target.Path += "/v1"
	raw := c.base.EscapedPath() + "/v1"
	for _, segment := range call.path {
		// A proxy could resolve dot segments.
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
	if call.method == http.MethodGet {
		request.Header.Set("Cache-Control", "no-cache") // What a cache has may be older than what is to be confirmed.
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.userAgent != "" {
		request.Header.Set("User-Agent", c.userAgent)
	}
	return request, nil
}

// noResponse returns the error of a request without a response.
func (c *Client) noResponse(request *http.Request, op string, err error, trace *progress) *Error {
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
	case trace.responded.Load() && !isNetwork(err):
		// The transport's error quotes what the server wrote.
		e.Reason, text = ReasonInvalidResponse, "the response is not HTTP, is cut short, or its headers exceed 64 KiB"
	default:
		text = unreached(err, proxy, !e.NotSent)
	}
	e.Err = &cause{text: c.secrets.clean(text, maxRemoteWords), err: err}
	return e
}

// bodyTrouble replaces the text of an error from reading a body by one that can be shown.
func bodyTrouble(ctx context.Context, err error) error {
	switch {
	case err == nil, errors.Is(err, ErrTooLarge), errors.Is(err, ErrNoRoom):
		return err
	case outOfTime(ctx, err):
		return &cause{text: "the response did not end in time", err: err}
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

// readBody reads a whole body, so that the connection can be reused, or stops at the limit. It returns what was read.
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

// progress records how far a request came.
type progress struct{ sought, had, responded atomic.Bool }

func (p *progress) hooks() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GetConn:              func(string) { p.sought.Store(true) },
		GotConn:              func(httptrace.GotConnInfo) { p.had.Store(true) },
		WroteHeaderField:     func(string, []string) { p.had.Store(true) },
		WroteRequest:         func(httptrace.WroteRequestInfo) { p.had.Store(true) },
		GotFirstResponseByte: func() { p.responded.Store(true) },
	}
}

// notSent reports whether a connection was requested and none was obtained, in
// any try. A transport that reports neither is no evidence.
func (p *progress) notSent() bool { return p.sought.Load() && !p.had.Load() }
