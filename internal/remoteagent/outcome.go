/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"context"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// Event is reported to users once, as a Kubernetes event and a log line.
type Event struct {
	Reason, Action, Note string
	Warning              bool
}

// What can happen to an Agent.
var (
	NoEvent         = Event{}
	registeredAgent = Event{Reason: "Registered", Action: "Register", Note: "registered as %s"}
	reregistered    = Event{Reason: "Reregistered", Action: "Register", Warning: true,
		Note: "the remote agent was not found; registered again as %s"}
	recovered   = Event{Reason: "Recovered", Action: "Register", Note: "found its remote agent %s again"}
	adopted     = Event{Reason: "Adopted", Action: "Adopt", Note: "adopted the remote agent %s"}
	Updated     = Event{Reason: "Updated", Action: "Update", Note: "sent %s"}
	Corrected   = Event{Reason: "DriftCorrected", Action: "Update", Note: "reverted what somebody else changed: %s"}
	Drifted     = Event{Reason: "Drifted", Action: "Observe", Note: "somebody else changed %s; the sync policy does not revert it"}
	Deleted     = Event{Reason: "Deleted", Action: "Delete", Note: "deleted the remote agent %s"}
	goneAlready = Event{Reason: "Deleted", Action: "Delete", Note: "the remote agent %s was already deleted"}
	Retained    = Event{Reason: "Retained", Action: "Delete",
		Note: "left the remote agent %s and its Secrets, as the deletion policy says"}
	Orphaned = Event{Reason: "Orphaned", Action: "Delete", Warning: true,
		Note: "left the remote agent %s behind, as the annotation says"}
	LeftBehind = Event{Reason: "Orphaned", Action: "Delete", Warning: true,
		Note: "the Agent was removed while it was being registered: delete the remote agent %s in Calyptia Cloud"}
	MaybeOrphaned = Event{Reason: "MaybeOrphaned", Action: "Delete", Warning: true,
		Note: "a registration got no response: look for another agent with the machine ID %s in Calyptia Cloud"}
	otherMaybeLeft = Event{Reason: MaybeOrphaned.Reason, Action: "Delete", Warning: true,
		Note: "the token Secret names another agent, which may not be read: look for agents with the machine ID %s in Calyptia Cloud"}
	DuplicateDeleted = Event{Reason: "DuplicateDeleted", Action: "Delete", Note: "deleted the duplicate %s", Warning: true}
)

// EventReasons are the reasons of all events but failures.
func EventReasons() (reasons []string) {
	for _, e := range []Event{
		registeredAgent, reregistered, recovered, adopted, Updated, Corrected, Drifted, Deleted, Retained, Orphaned, MaybeOrphaned,
		DuplicateDeleted,
	} {
		reasons = append(reasons, e.Reason)
	}
	return reasons
}

// happened is an event, and what it is about.
type happened struct {
	Event
	About string
}

// outcome is the result of a reconciliation. It only grows.
type outcome struct {
	Events []happened
	// Released: the finalizer is removed.
	Released bool
	// TokenMissing: the API does not show the agent's token.
	TokenMissing bool
	// Unfinished: something was sent that could not be read back.
	Unfinished bool
	// Checked: the remote agent is as declared, and only duplicates are left to delete.
	Checked bool
	// Confirm is after how long a snapshot shall confirm what was sent, or show duplicates.
	Confirm time.Duration
}

// Record adds an event. It is emitted after the status is written.
func (o *outcome) Record(e Event, about ...string) {
	o.Events = append(o.Events, happened{Event: e, About: strings.Join(about, ", ")})
}

// Logger is the logger of a reconciliation.
func Logger(ctx context.Context) logr.Logger { return log.FromContext(ctx) }
