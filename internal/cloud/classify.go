/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

var (
	errNotAPI      = errors.New("the answer is not the API's JSON")
	errTruncated   = errors.New("the answer is cut short")
	errRedirect    = errors.New("the answer is a redirect, which is not followed")
	errOtherAgent  = errors.New("the answer is about another agent")
	errNoAgentID   = errors.New("the answer holds no agent ID that is a UUID")
	errSameCursor  = errors.New("the answer's next page is the same page")
	errNotExpected = errors.New("the answer's status is not expected")
)

// refusal is the API's own error body.
type refusal struct {
	message, detail           string
	quotaLimit, quotaRemained *int64
}

// readRefusal reads {"error": "..."}; false for anything else. The key is
// matched exactly: what merely resembles the API is not the API.
func readRefusal(body []byte) (refusal, bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return refusal{}, false
	}
	var r refusal
	if json.Unmarshal(fields["error"], &r.message) != nil || strings.TrimSpace(r.message) == "" {
		return refusal{}, false
	}
	// The rest is optional, and of no other shape than documented.
	_ = json.Unmarshal(fields["detail"], &r.detail)
	if json.Unmarshal(fields["quotaLimit"], &r.quotaLimit) != nil {
		r.quotaLimit = nil
	}
	if json.Unmarshal(fields["quotaRemaining"], &r.quotaRemained) != nil {
		r.quotaRemained = nil
	}
	return r, true
}

// refused makes the error of an answer whose status is not a success.
func (c *Client) refused(op string, a *answer) *Error {
	e := &Error{Op: op, Status: a.status, RetryAfter: retryAfter(a.header.Get("Retry-After"), c.now())}
	var said refusal
	spoken := false
	if a.err == nil {
		said, spoken = readRefusal(a.body)
	}
	e.API = spoken && !byGateway(a.status)
	if spoken {
		e.Message, e.Detail = c.remoteWords(said.message, said.detail)
		e.QuotaLimit, e.QuotaRemaining = said.quotaLimit, said.quotaRemained
	} else {
		e.Err = a.err
	}
	e.Class, e.Reason = classify(op, a.status, said, e.RetryAfter)
	if foreign := !e.API && (a.err != nil || len(bytes.TrimSpace(a.body)) > 0); foreign && yields(a.status) {
		// A proxy is speaking: its status proves nothing lasting.
		e.Class, e.Reason = ClassRetryable, ReasonInvalidAnswer
		if e.Err == nil {
			e.Err = errNotAPI
		}
	}
	if e.Reason == ReasonInvalidAnswer && e.Err == nil && !e.API {
		e.Err = errNotExpected
		if a.status >= 300 && a.status < 400 {
			e.Err = errRedirect
		}
	}
	return e
}

// byGateway reports whether a status says that the answer is not the service's own, whatever its body looks like:
// the service may still be at work on the call.
func byGateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}

// yields reports whether a status means nothing when its body is foreign.
func yields(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return status >= 400 && status < 500
}

// classify is the one table from answers to classes and reasons.
func classify(op string, status int, said refusal, wait time.Duration) (Class, Reason) {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return ClassTerminal, ReasonInvalid
	case http.StatusUnauthorized:
		return ClassWaiting, ReasonUnauthorized
	case http.StatusForbidden:
		return ClassTerminal, forbidden(said)
	case http.StatusNotFound:
		return notFound(op, said.message)
	case http.StatusConflict:
		return ClassTerminal, ReasonConflict
	case http.StatusGone:
		return ClassRetryable, ReasonGone
	case http.StatusTooManyRequests:
		return ClassWaiting, ReasonRateLimited
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return ClassTerminal, ReasonUnsupported
	case http.StatusRequestTimeout, http.StatusTooEarly:
		return ClassRetryable, ReasonUnavailable
	case http.StatusServiceUnavailable:
		if wait > 0 {
			return ClassWaiting, ReasonUnavailable
		}
		return ClassRetryable, ReasonUnavailable
	}
	switch {
	case status >= 500 && status < 600:
		return ClassRetryable, ReasonUnavailable
	case status >= 400 && status < 500 && said.message != "":
		// Such as 413: the API itself will not take what was sent.
		return ClassTerminal, ReasonInvalid
	default:
		return ClassRetryable, ReasonInvalidAnswer
	}
}

func forbidden(said refusal) Reason {
	switch {
	case said.quotaLimit != nil || mentions(said.message, "quota"):
		return ReasonQuotaExceeded
	case mentions(said.message, "update agent") && mentions(said.message, "forbidden"):
		return ReasonFieldForbidden
	default:
		return ReasonForbidden
	}
}

// notFound goes by the message: what a call refers to must be corrected by a
// person, while an agent that is missing is for the caller to judge.
func notFound(op, message string) (Class, Reason) {
	class := ClassRetryable
	if op == opRegister || op == opUpdate {
		class = ClassTerminal
	}
	switch {
	case mentions(message, "fleet"):
		return class, ReasonFleetNotFound
	case mentions(message, "environment"):
		return class, ReasonEnvironmentNotFound
	case mentions(withoutPaths(message), "agent") && !aboutRoute(withoutPaths(message)):
		return ClassRetryable, ReasonAgentNotFound
	default:
		return ClassRetryable, ReasonNotFound
	}
}
