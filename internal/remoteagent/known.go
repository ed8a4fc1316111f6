/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/plan"
	"github.com/calyptia-agent-operator/operator/internal/schedule"
)

// Known is what this process knows of one Agent between two reconciliations. It is lost with the process, which costs
// requests and time: what counts is in the Agent, its Secrets and Calyptia Cloud. Two exceptions: a token that only a response
// showed, and the pause after registrations that came to nothing. There is one for each Agent that exists, and one worker at
// a time works on an Agent, so that it needs no lock.
type Known struct {
	Identity identity
	Secrets  secretChecks
	Writes   pendingWrites
	Updates  updates
	*unusual
	request request
	// Timers of the next check, and what a failure in backoff is about: see gate.fingerprint.
	Timers     schedule.Timers
	BackoffFor string
	// Logged is the failure that was logged last. Lost: it is logged once more.
	Logged string
	// VolatileAt is when the volatile part of the status was written last. Lost: it is written up to an hour later.
	VolatileAt time.Time
}

// identity is the remote agent that this process saw to be ours at an endpoint. The observer owns it. Lost: one read before
// the next update or deletion.
type identity struct {
	id string
	at connection.Endpoint
	by string // the credential fingerprint it was seen with; empty if that changed meanwhile
	// shown: a read or a snapshot showed its machine ID. Until then only the response to its registration names it.
	shown bool
}

// secretChecks are the versions of the Secrets as they were last found right. The secretKeeper owns them. Lost: the
// versions in the status count, or the Secrets are read once.
type secretChecks struct {
	Token, Session string
	// Digest of the token in the Secret.
	Digest string
	// Right: both are as a whole reconciliation left them.
	Right bool
	// NotStored is the last write that the API server did not store as a whole; nil if there is none.
	NotStored *NotStored
}

// NotStored is a write of a Secret that the API server did not store as a whole: its version, and the one before it. The write must not
// end its own backoff.
type NotStored struct{ Version, Before string }

// pendingWrites are what this process wrote, or could not write yet, to the API server. The draft owns them. Lost: the
// intent on the Agent shows a registration in doubt, whose outcome is looked up; a token that Calyptia Cloud never shows
// again is lost with the process that could not store it.
type pendingWrites struct {
	// Version of the Agent that was written last, and when the reconciliation that wrote it began.
	Version string
	At      time.Time
	// Sent is the Agent whose registration was sent, with the status as far as it got, until that is written.
	Sent *v1alpha1.Agent
	// token of the registration, until a Secret holds it: of this agent at this endpoint, and no other's.
	token   cloud.Token
	tokenOf Whereabouts
	// Released: the finalizer is removed. The cache may still show the Agent for a moment.
	Released bool
}

// hold keeps a token that a response showed until a Secret holds it.
func (w *pendingWrites) hold(token cloud.Token, of Whereabouts) { w.token, w.tokenOf = token, of }

// TokenStored drops the token: a Secret holds it.
func (w *pendingWrites) TokenStored() { w.hold(cloud.Token{}, Whereabouts{}) }

// updates are what was sent to the remote agent. The updater owns them. Lost: fields are sent again.
type updates struct {
	plan.Pending
	// SentAt is when the API accepted something last.
	SentAt time.Time
	// DelayedFor is the generation that plan.Pending.Delayed is of.
	DelayedFor int64
	// Refused is the content that something between here and the API refused last.
	Refused string
	// TokenRefused is the digest of the agent's token that the API refused, until the project token is tried, too.
	TokenRefused string
}

// absences are when agents were found missing. The observer owns them. Lost: the two checks that confirm it begin again.
type absences struct {
	// first is what a first check of the recorded agent, or of a duplicate, found, at firstAt; unlistedAt is when the snapshot began that
	// lacked the recorded agent.
	first               finding
	firstAt, unlistedAt time.Time
	// unnamed is the agent that a "not found" may have been about, since unnamedAt: a later snapshot decides.
	unnamed   Whereabouts
	unnamedAt time.Time
	// missed are the agents that were named, or are to be deleted, and were not found or showed another machine ID, and when first: a second
	// check decides.
	missed map[finding]time.Time
	// Lost was found missing for good and is not looked up again; other was named and did not exist.
	Lost     Whereabouts
	other    finding
	deletion deletion
	// recorded is the agent that the status of an Agent that is being deleted shall name, besides its own.
	recorded Whereabouts
	// ended are the deletions that are confirmed, and when.
	ended map[deletionOf]time.Time
}

// finding is what a check of a remote agent found, and with which credential fingerprint. A second check confirms only the same.
type finding struct {
	of   Whereabouts
	by   string
	code fault.Code
}

// deletion is how far the deletion of one remote agent came: a read verified that it may be deleted, and the API accepted the deletion.
// The rate limit may end each turn after one request. The Deleter owns it. Lost: the agent is read once more.
type deletion struct {
	of         deletionOf
	shown      bool
	verifiedAt time.Time
	accepted   bool
	unread     bool // after that
}

// deletionOf is the remote agent that is deleted, through which CloudProject, and with which credential fingerprint.
type deletionOf struct {
	agent        Whereabouts
	cloudProject types.UID
	credential   string
}

// Whereabouts is a remote agent at an endpoint.
type Whereabouts struct {
	ID string
	at connection.Endpoint
}

// unusual is what registrations, losses and deletions need. Between reconciliations it is nil in all Agents that have nothing of it, which
// are nearly all: it takes more memory than the rest.
type unusual struct {
	Absence   absences
	attempt   attempt
	fruitless fruitless
	wanted    wanted
	// Barred: its CloudProject did not allow its namespace. Lost: one more request for a deletion that fails.
	Barred bool
}

// wake prepares what is known for a reconciliation.
func (k *Known) wake() {
	if k.unusual == nil {
		k.unusual = &unusual{}
	}
}

// Rest ends a reconciliation: what only an open registration needs is forgotten.
func Rest(t *Task) {
	k := t.Known
	if t.Agent.Status.ID != "" && !t.Open() && t.Writes.Sent == nil {
		k.attempt, k.wanted = attempt{}, wanted{}
	}
	if reflect.ValueOf(*k.unusual).IsZero() {
		k.unusual = nil
	}
}

// wanted is since when an Agent wants a chosen machine ID at an endpoint. The registrar owns it. Lost: one list, which a new process
// makes anyway.
type wanted struct {
	machineID string
	at        connection.Endpoint
	since     time.Time
}

// attempt is when this process began to write the open intent, if it did, and first saw it; when the API itself responded with an
// error, and when with one other than to wait: refused. The registrar owns it. Lost: the operator waits for the whole slack, and a new
// process looks for the agent first anyway.
type attempt struct {
	intent                         string
	began, met, responded, refused time.Time
	// named is the agent that an odd response named, which could not be read, or was not found.
	named Whereabouts
}

// request is the last request to reconcile that was seen, and when; checked: only duplicates are left to delete. Lost: it counts as just
// seen.
type request struct {
	value   string
	at      time.Time
	checked bool
}

// requestOf identifies the request to reconcile of an Agent, whose text may have any length; empty for none.
func requestOf(a *v1alpha1.Agent) string {
	text := a.Annotations[v1alpha1.AnnotationReconcileAt]
	if text == "" {
		return ""
	}
	return cloud.Hash(text)
}

// requested is the pending request to reconcile of an Agent, since this process first saw it.
func (k *Known) requested(a *v1alpha1.Agent, now time.Time) *request {
	if value := requestOf(a); k.request.value != value || k.request.at.IsZero() {
		k.request = request{value: value, at: now}
	}
	return &k.request
}
