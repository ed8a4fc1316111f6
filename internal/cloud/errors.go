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

// Class says what can end a trouble.
type Class string

const (
	// ClassTerminal: the same call fails again until somebody changes something.
	ClassTerminal Class = "Terminal"
	// ClassWaiting: the credential or the clock must change first.
	ClassWaiting Class = "Waiting"
	// ClassRetryable: the same call may succeed later.
	ClassRetryable Class = "Retryable"
)

// Reason says what the trouble is, in a form fit for a condition.
type Reason string

const (
	// ReasonInvalid: what was sent, or was to be sent, is not acceptable (400, 422).
	ReasonInvalid Reason = "Invalid"
	// ReasonUnauthorized: the token is missing, malformed or revoked (401).
	ReasonUnauthorized Reason = "Unauthorized"
	// ReasonForbidden: the token does not allow this (403).
	ReasonForbidden Reason = "Forbidden"
	// ReasonQuotaExceeded: the project holds as many agents as it may (403).
	ReasonQuotaExceeded Reason = "QuotaExceeded"
	// ReasonFieldForbidden: only the agent itself may update a field (403).
	ReasonFieldForbidden Reason = "FieldForbidden"
	// ReasonAgentNotFound: there is no such agent (404).
	ReasonAgentNotFound Reason = "AgentNotFound"
	// ReasonFleetNotFound: there is no such fleet (404).
	ReasonFleetNotFound Reason = "FleetNotFound"
	// ReasonEnvironmentNotFound: there is no such environment (404).
	ReasonEnvironmentNotFound Reason = "EnvironmentNotFound"
	// ReasonNotFound: a 404 that names none of those.
	ReasonNotFound Reason = "NotFound"
	// ReasonConflict: another agent holds the machine ID of a registration (409).
	ReasonConflict Reason = "Conflict"
	// ReasonGone: deleted for good (410).
	ReasonGone Reason = "Gone"
	// ReasonUnsupported: the service does not know this call (405, 501).
	ReasonUnsupported Reason = "Unsupported"
	// ReasonRateLimited: too many requests (429).
	ReasonRateLimited Reason = "RateLimited"
	// ReasonUnavailable: the service's own trouble (5xx, 408), or another call
	// that is under way for the same agent (409, 423).
	ReasonUnavailable Reason = "Unavailable"
	// ReasonTimeout: the call's time ended, or its context was cancelled.
	ReasonTimeout Reason = "Timeout"
	// ReasonContentRefused: something between the operator and the API, or the
	// API by its limit of size (413), refuses what a request holds.
	ReasonContentRefused Reason = "ContentRefused"
	// ReasonNetwork: the service was not reached, or the connection broke.
	ReasonNetwork Reason = "Network"
	// ReasonTooLarge: the API answers, but with more than Config.MaxBody.
	ReasonTooLarge Reason = "TooLarge"
	// ReasonInvalidResponse: not the API's JSON: cut short, too large, a
	// redirect, about another agent, or written by something in between.
	ReasonInvalidResponse Reason = "InvalidResponse"
)

// ErrTooLarge is in the chain of an error about an answer that exceeds Config.MaxBody.
var ErrTooLarge = errors.New("the answer is too large")

const (
	// maxRemoteWords bounds Message and Detail together, in bytes.
	maxRemoteWords = 512
	// maxErrorText bounds all that an error says, in characters.
	maxErrorText = 1200
)

// Error is how every failed call ends. None of its texts holds a token.
type Error struct {
	Op     string // such as "register agent"
	Class  Class
	Reason Reason
	Status int // of the answer; 0 when there was none
	// API is true when the answer was the API's own JSON error: an object with
	// an error in words, and with none of the keys that frameworks write beside
	// one. What a gateway says of the service behind it (502, 504) never is.
	API bool
	// Message and Detail are the service's words, from a JSON error only:
	// without control characters and tokens, together at most 512 bytes.
	Message, Detail string
	// QuotaLimit and QuotaRemaining count agents; nil when not told.
	QuotaLimit, QuotaRemaining *int64
	// RetryAfter is what the service asks for, in [0, 1h]; 0 when absent.
	RetryAfter time.Duration
	// NotSent is true when no byte of the request can have left this process.
	NotSent bool
	// Err is the cause, if there is one besides the answer itself.
	Err error
}

// Error says the call, the status and the reason in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op + ": ")
	if e.Status != 0 {
		fmt.Fprintf(&b, "%d ", e.Status)
	}
	// The service's own words often are the reason's.
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

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// NothingMade reports whether the error proves that a registration made
// nothing: the request was not sent, or the API itself refused it. The status
// alone proves nothing: a filter of responses writes its own 4xx over the
// response to a request that took effect.
func (e *Error) NothingMade() bool {
	if e.NotSent {
		return true
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, statusClientClosed:
		return false // The request may be served late, or again.
	case http.StatusConflict:
		return false // It may speak of the agent that this request made.
	}
	return e.API && e.Status >= 400 && e.Status < 500
}

// OfContent reports whether the request carried what a user declares, so that
// its failure may be about that.
func (e *Error) OfContent() bool { return e.Op == opRegister || e.Op == opUpdate }

// AsError finds the *Error in an error's chain.
func AsError(err error) (*Error, bool) { return errors.AsType[*Error](err) }

// words spells a reason for people: QuotaExceeded is "quota exceeded".
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

// mentions reports whether a text holds one of the words, in any case.
func mentions(text string, words ...string) bool {
	text = strings.ToLower(text)
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// cause gives an error a text that is fit to be shown, and keeps its identity.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }
