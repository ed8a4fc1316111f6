/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package fault gives every failure of a reconciliation a class, a condition
// reason and a message that says what to do, so that one place can turn any of
// them into conditions, events and a requeue.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Class says who can end a failure.
type Class string

const (
	// Terminal failures end when a user changes something.
	Terminal Class = "terminal"
	// Waiting failures end with an event elsewhere, or at a known time.
	Waiting Class = "waiting"
	// Retryable failures may end with a retry.
	Retryable Class = "retryable"
)

// Code identifies a failure for the operator. Control flow depends only on codes: reasons are for users.
type Code string

const (
	// NoCode: only the class matters.
	NoCode Code = ""
	// Throttled: a rate limit, the operator's or the server's, delays a request.
	Throttled Code = "Throttled"
	// Unreachable: no request is made, because Calyptia Cloud does not respond.
	Unreachable Code = "Unreachable"
	// ProjectNotReady: the CloudProject allows no requests now; see its conditions.
	ProjectNotReady Code = "ProjectNotReady"
	// KindRejected: Calyptia Cloud rejects the project token for requests of one kind, and accepts it for others.
	KindRejected Code = "KindRejected"
	// TokenRejected: Calyptia Cloud rejected the project token.
	TokenRejected Code = "TokenRejected"
	// CredentialsUnverified: no response shows whether the credentials are valid.
	CredentialsUnverified Code = "CredentialsUnverified"
	// ProjectMissing: there is no such CloudProject.
	ProjectMissing Code = "ProjectMissing"
	// ProjectNotAllowed: the CloudProject does not allow the namespace.
	ProjectNotAllowed Code = "ProjectNotAllowed"
	// RemoteMissing: the remote agent was not found.
	RemoteMissing Code = "RemoteMissing"
	// RemoteMisnamed: the remote agent was found, and shows another machine ID.
	RemoteMisnamed Code = "RemoteMisnamed"
	// RemoteOwned: the remote agent belongs to another Agent.
	RemoteOwned Code = "RemoteOwned"
	// MachineIDLeased: another Agent has the machine ID.
	MachineIDLeased Code = "MachineIDLeased"
	// Unrecorded: the status has to be written before the turn goes on.
	Unrecorded Code = "Unrecorded"
	// SecretForeign: a Secret has another owner.
	SecretForeign Code = "SecretForeign"
	// SecretUnstored: the API server stored a Secret otherwise than it was written.
	SecretUnstored Code = "SecretUnstored"
)

// Error is a classed failure.
type Error struct {
	Class Class
	// Code is for the operator itself.
	Code Code
	// Reason is the condition reason, one of those in the API package.
	Reason string
	// Message is one sentence for users: what happened and what to do. It never has a token.
	Message string
	// RetryAfter is the time until a retry makes sense; zero leaves it to the class.
	RetryAfter time.Duration
	// Quiet failures end so soon that no condition reports them.
	Quiet bool
	// Err is the cause, for errors.Is; it is not printed.
	Err error
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// After returns a copy that is retried after d.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Quietly returns a copy that no condition reports.
func (e *Error) Quietly() *Error {
	c := *e
	c.Quiet = true
	return &c
}

// Coded returns a copy with a code.
func (e *Error) Coded(code Code) *Error {
	c := *e
	c.Code = code
	return &c
}

// Saying returns a copy with another message.
func (e *Error) Saying(message string) *Error {
	c := *e
	c.Message = message
	return &c
}

// Because returns a copy with a cause.
func (e *Error) Because(err error) *Error {
	c := *e
	c.Err = err
	return &c
}

// Terminalf returns a failure that only a user can end.
func Terminalf(reason, format string, args ...any) *Error {
	return &Error{Class: Terminal, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Waitingf returns a failure that ends with an event elsewhere.
func Waitingf(reason, format string, args ...any) *Error {
	return &Error{Class: Waiting, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Retryablef returns a failure that a retry may end.
func Retryablef(reason, format string, args ...any) *Error {
	return &Error{Class: Retryable, Reason: reason, Message: fmt.Sprintf(format, args...)}
}

// Is reports whether a failure with the code is in err's chain.
func Is(err error, code Code) bool {
	f, ok := As(err)
	return ok && f.Code == code
}

// As returns the classed failure in err's chain.
func As(err error) (*Error, bool) {
	return errors.AsType[*Error](err)
}
