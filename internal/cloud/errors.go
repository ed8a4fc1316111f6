/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// Class says what can end a failure.
type Class string

const (
	// ClassTerminal: the same request fails until a user changes something.
	ClassTerminal Class = "Terminal"
	// ClassWaiting: the credential must change, or time must pass.
	ClassWaiting Class = "Waiting"
	// ClassRetryable: the same request may succeed later.
	ClassRetryable Class = "Retryable"
)

// Reason says what failed, in the form of a condition reason.
type Reason string

const (
	// ReasonInvalid: the request is not acceptable (400, 422).
	ReasonInvalid Reason = "Invalid"
	// ReasonUnauthorized: the token is missing, malformed or revoked (401).
	ReasonUnauthorized Reason = "Unauthorized"
	// ReasonForbidden: the token does not allow this (403).
	ReasonForbidden Reason = "Forbidden"
	// ReasonQuotaExceeded: the project has as many agents as its quota allows (403).
	ReasonQuotaExceeded Reason = "QuotaExceeded"
	// ReasonFieldForbidden: only the agent itself may update a field (403).
	ReasonFieldForbidden Reason = "FieldForbidden"
	// ReasonAgentNotFound: there is no such agent (404).
	ReasonAgentNotFound Reason = "AgentNotFound"
	// ReasonFleetNotFound: there is no such fleet (404).
	ReasonFleetNotFound Reason = "FleetNotFound"
	// ReasonEnvironmentNotFound: there is no such environment (404).
	ReasonEnvironmentNotFound Reason = "EnvironmentNotFound"
	// ReasonNotFound: any other 404.
	ReasonNotFound Reason = "NotFound"
	// ReasonConflict: another agent has the machine ID of a registration (409).
	ReasonConflict Reason = "Conflict"
	// ReasonGone: deleted for good (410).
	ReasonGone Reason = "Gone"
	// ReasonUnsupported: the API does not have this route (405, 501).
	ReasonUnsupported Reason = "Unsupported"
	// ReasonRateLimited: too many requests (429).
	ReasonRateLimited Reason = "RateLimited"
	// ReasonUnavailable: the API failed (5xx, 408), or is processing another request for the same agent (409, 423).
	ReasonUnavailable Reason = "Unavailable"
	// ReasonTimeout: the request timed out, or its context was canceled.
	ReasonTimeout Reason = "Timeout"
	// ReasonContentRefused: something between the operator and the API, or the
	// size limit of the API (413), rejects the content of a request.
	ReasonContentRefused Reason = "ContentRefused"
	// ReasonNetwork: the API was not reached, or the connection broke.
	ReasonNetwork Reason = "Network"
	// ReasonTooLarge: the response is longer than Config.MaxBody.
	ReasonTooLarge Reason = "TooLarge"
	// ReasonInvalidResponse: the response is not the API's JSON: cut short, a
	// redirect, about another agent, or written by something in between.
	ReasonInvalidResponse Reason = "InvalidResponse"
)

// ErrTooLarge is wrapped by the error of a response that exceeds Config.MaxBody.
var ErrTooLarge = errors.New("the response is too large")

const (
	// maxRemoteWords bounds Message and Detail together, in bytes.
	maxRemoteWords = 512
	// maxErrorText bounds the text of an error, in characters.
	maxErrorText = 1200
)

// Error is the error of every failed request. None of its texts has a token.
type Error struct {
	Op     string // such as "register agent"
	Class  Class
	Reason Reason
	Status int // of the response; 0 when there was none
	// API is true if the response is the API's own JSON error: an object with an error message, and without the keys that
	// frameworks add. The response of a gateway about the API behind it (502, 504) never is.
	API bool
	// Message and Detail come from a JSON error of the API, without control
	// characters and tokens, together at most 512 bytes.
	Message, Detail string
	// QuotaLimit and QuotaRemaining count agents; nil if unknown.
	QuotaLimit, QuotaRemaining *int64
	// RetryAfter is the wait that the API, or any 429 or 5xx, asks for, in [0, 1h]; 0 if absent.
	RetryAfter time.Duration
	// NotSent is true if no byte of the request can have left this process.
	NotSent bool
	// Err is the cause, if it is not the response itself.
	Err error
}

// Error returns the operation, the status and the reason in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": ")
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	// The API's message often repeats the reason.
	if words := e.Reason.words(); !strings.HasPrefix(strings.ToLower(e.Message), words) {
		b.WriteString(words)
		if e.Message != "" {
			b.WriteString(": ")
		}
	}
	b.WriteString(e.Message)
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	switch {
	case e.QuotaLimit != nil && e.QuotaRemaining != nil:
		fmt.Fprintf(&b, " (limit %d, remaining %d)", *e.QuotaLimit, *e.QuotaRemaining)
	case e.QuotaLimit != nil:
		fmt.Fprintf(&b, " (limit %d)", *e.QuotaLimit)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.NotSent {
		b.WriteString(" (not sent)")
	}
	return Clean(b.String(), maxErrorText)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NothingMade reports whether a failed registration certainly created nothing: the request was not sent, or the API itself
// rejected it. The status alone is no evidence: a filter may replace the response to a request that took effect by its own
// 4xx.
func (e *Error) NothingMade() bool {
	if e.NotSent {
		return true
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, statusClientClosed:
		return false // The request may be processed late, or twice.
	case http.StatusConflict:
		return false // It may be about the agent that this request created.
	}
	return e.API && e.Status >= 400 && e.Status < 500
}

// OfContent reports whether the request had content that a user declares, so that its failure may be about that.
func (e *Error) OfContent() bool { return e.Op == opRegister || e.Op == opUpdate }

// OfList reports whether the request was a list: what the API says of it may be about any agent of the project.
func (e *Error) OfList() bool { return strings.HasPrefix(e.Op, "list ") }

// ShowsContent reports whether the response has content that a user declares or an agent writes, so that something in between
// may have replaced or dropped it because of that.
func (e *Error) ShowsContent() bool { return e.Op == opGet }

// AsError returns the *Error that an error wraps.
func AsError(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// words spells a reason as words: QuotaExceeded is "quota exceeded".
func (r Reason) words() string {
	var b strings.Builder
	for i, char := range string(r) {
		if i > 0 && unicode.IsUpper(char) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(char))
	}
	return b.String()
}

// mentions reports whether a text has one of the words, in any case.
func mentions(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// cause replaces the text of an error by one that can be shown, and wraps the error.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }
