/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

var (
	errNotAPI      = errors.New("the response is not the API's JSON")
	errTruncated   = errors.New("the response is cut short")
	errRedirect    = errors.New("the response is a redirect, which is not followed")
	errOtherAgent  = errors.New("the response is about another agent")
	errNoAgentID   = errors.New("the response has no agent ID that is a UUID")
	errNoAgent     = errors.New("the response shows no agent: machineID or type is missing")
	errSameCursor  = errors.New("the response's next page is the same page")
	errNotExpected = errors.New("the status of the response is not expected")
	errContent     = errors.New("something between the operator and the API rejects this configuration")
)

// refusal is the API's own error body.
type refusal struct {
	message, detail           string
	quotaLimit, quotaRemained *int64
}

// mostKeys is how many keys an error of the API may have.
const mostKeys = 64

// statusClientClosed is what nginx says of a client that left before the response.
const statusClientClosed = 499

// foreignKeys are keys in the error bodies of frameworks and gateways that the API does not use, without hyphens and in
// lower case. Unknown keys are no evidence against a body: the API grows.
var foreignKeys = map[string]bool{
	"path": true, "status": true, "statuscode": true, "timestamp": true, // Spring, Rails, NestJS, Elasticsearch
	"message": true, "msg": true, "trace": true, "traces": true, "stack": true, "exception": true, "errors": true,
	"type": true, "title": true, "instance": true, // RFC 9457
	"code": true, "errorcode": true, "classname": true, "reason": true, "fault": true, // Feathers, Apigee
	"errordescription": true, "erroruri": true, // OAuth
	"kind": true, "apiversion": true, // Kubernetes
	"ok": true, "success": true,
}

// readRefusal reads the API's own error body, {"error": "..."}; false for anything else. The key is matched exactly.
func readRefusal(body []byte) (refusal, bool) {
	fields, few := fieldsOf(body)
	if !few {
		return refusal{}, false
	}
	for key := range fields {
		if foreignKeys[plainKey.Replace(strings.ToLower(key))] {
			return refusal{}, false
		}
	}
	var r refusal
	if json.Unmarshal(fields["error"], &r.message) != nil || strings.TrimSpace(r.message) == "" {
		return refusal{}, false
	}
	// The other fields are optional.
	_ = json.Unmarshal(fields["detail"], &r.detail)
	if json.Unmarshal(fields["quotaLimit"], &r.quotaLimit) != nil {
		r.quotaLimit = nil
	}
	if json.Unmarshal(fields["quotaRemaining"], &r.quotaRemained) != nil {
		r.quotaRemained = nil
	}
	return r, true
}

var plainKey = strings.NewReplacer("_", "", "-", "")

// fieldsOf reads an object; false for anything else, and for one with more than mostKeys keys, of which each takes memory and time.
func fieldsOf(body []byte) (map[string]json.RawMessage, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, false
	}
	fields := map[string]json.RawMessage{}
	for decoder.More() {
		key, err := decoder.Token()
		var value json.RawMessage
		if err != nil || len(fields) == mostKeys || decoder.Decode(&value) != nil {
			return nil, false
		}
		fields[key.(string)] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, false
	}
	_, err := decoder.Token()
	return fields, err == io.EOF
}

// refused returns the error of a response whose status is not a success.
func (c *Client) refused(call call, a *response) *Error {
	e := &Error{Op: call.op, Status: a.status, Err: a.err}
	var said refusal
	spoken := false
	if a.err == nil {
		said, spoken = readRefusal(a.body)
	}
	e.API = spoken && !byGateway(a.status)
	if e.API || a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError {
		e.RetryAfter = retryAfter(a.header.Get("Retry-After"), cmp.Or(respondedAt(a.header), time.Now()))
	}
	if spoken {
		e.Message = c.secrets.clean(said.message, maxRemoteWords)
		e.Detail = c.secrets.clean(said.detail, maxRemoteWords-len(e.Message))
		e.QuotaLimit, e.QuotaRemaining = said.quotaLimit, said.quotaRemained
	}
	e.Class, e.Reason = classify(call, a.status, said, e.RetryAfter)
	if !e.API {
		e.classifyForeign(call, a)
	}
	return e
}

// classifyForeign classifies a response that is not in the API's own form: something in between may have set its status.
func (e *Error) classifyForeign(call call, a *response) {
	empty := a.err == nil && len(bytes.TrimSpace(a.body)) == 0
	switch {
	case call.body != nil && a.status == http.StatusRequestEntityTooLarge:
		e.Class, e.Reason = ClassTerminal, ReasonContentRefused
	case call.body != nil && refusesContent(a.status) && (!empty || !documented(a.status)):
		e.Class, e.Reason = ClassRetryable, ReasonContentRefused
	case !empty && yields(a.status):
		e.Class, e.Reason = ClassRetryable, ReasonInvalidResponse
	}
	switch {
	case e.Err != nil:
	case e.Reason == ReasonContentRefused:
		e.Err = errContent
	case e.Reason != ReasonInvalidResponse:
	case a.status >= 300 && a.status < 400:
		e.Err = errRedirect
	case !empty && yields(a.status):
		e.Err = errNotAPI
	default:
		e.Err = errNotExpected
	}
}

// refusesContent reports whether a status is about the content of a request. The others below 500 are about the
// credential, the route, the time, the connection or concurrent requests.
func refusesContent(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotAcceptable, http.StatusUnprocessableEntity:
		return true
	case http.StatusUnavailableForLegalReasons, http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return status >= http.StatusLengthRequired && status <= http.StatusTeapot
}

// documented reports whether the API itself may reject a request's content with a status, with or without a body.
func documented(status int) bool {
	return status == http.StatusBadRequest || status == http.StatusForbidden || status == http.StatusUnprocessableEntity
}

// byGateway reports whether a status shows that a gateway wrote the response, whatever its body: the API may still be
// processing the request.
func byGateway(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusGatewayTimeout
}

// yields reports whether a status is ignored if its body is foreign.
func yields(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented:
		return true
	}
	return status >= 400 && status < 500
}

// classify maps responses to classes and reasons.
func classify(call call, status int, said refusal, wait time.Duration) (Class, Reason) {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return ClassTerminal, ReasonInvalid
	case http.StatusUnauthorized:
		return ClassWaiting, ReasonUnauthorized
	case http.StatusForbidden:
		return ClassTerminal, forbidden(said)
	case http.StatusNotFound:
		return notFound(call, said.message)
	case http.StatusConflict, http.StatusLocked:
		if call.op == opRegister && status == http.StatusConflict {
			return ClassTerminal, ReasonConflict
		}
		return ClassRetryable, ReasonUnavailable
	case http.StatusGone:
		return gone(call, said.message)
	case http.StatusRequestEntityTooLarge:
		if call.body != nil {
			return ClassTerminal, ReasonContentRefused
		}
	case http.StatusTooManyRequests:
		return ClassWaiting, ReasonRateLimited
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return ClassTerminal, ReasonUnsupported
	case http.StatusRequestTimeout, http.StatusTooEarly, statusClientClosed:
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
		// Such as 415: the API itself rejects the request.
		return ClassTerminal, ReasonInvalid
	default:
		return ClassRetryable, ReasonInvalidResponse
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
