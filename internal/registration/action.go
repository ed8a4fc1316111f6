/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import "time"

// Kind of an Action.
type Kind string

// What can be done about a registration.
const (
	// Keep: the remote agent is recorded; there is nothing to do.
	Keep Kind = "Keep"
	// Read a source.
	Read Kind = "Read"
	// Lookup the remote agent that a source names.
	Lookup Kind = "Lookup"
	// Adopt the remote agent that a source names: record it.
	Adopt Kind = "Adopt"
	// ReadInventory: get a snapshot that was begun after NotBefore.
	ReadInventory Kind = "ReadInventory"
	// Create: persist a new intent, then send one request.
	Create Kind = "Create"
	// CloseIntent: record that the registration created nothing.
	CloseIntent Kind = "CloseIntent"
	// Release: there is nothing to delete.
	Release Kind = "Release"
	// Wait until a time, or until something changes.
	Wait Kind = "Wait"
	// Fail: user action is required.
	Fail Kind = "Fail"
)

// Code says why an Action waits, fails or releases.
type Code string

// Codes.
const (
	NoCode Code = ""
	// InDoubt: the outcome of the registration is unknown.
	InDoubt Code = "InDoubt"
	// ListingNotKnown: whether the API lists agents is not known yet.
	ListingNotKnown Code = "ListingNotKnown"
	// RegistrationPaused: nothing new is registered in the project.
	RegistrationPaused Code = "RegistrationPaused"
	// OperatorReadOnly: the operator runs with --read-only.
	OperatorReadOnly Code = "OperatorReadOnly"
	// Fruitless: the last registrations came to nothing, and nothing changed since.
	Fruitless Code = "Fruitless"
	// MachineIDLeased: another Agent of the cluster has the machine ID.
	MachineIDLeased Code = "MachineIDLeased"
	// MachineIDTaken: another remote agent has the machine ID.
	MachineIDTaken Code = "MachineIDTaken"
	// Refused: the request failed and created nothing; its error says why.
	Refused Code = "Refused"
	// SecretTaken: the token Secret is not ours.
	SecretTaken Code = "SecretTaken"
	// SessionTaken: the session Secret is not ours.
	SessionTaken Code = "SessionTaken"
	// AdoptionNotAllowed: the token Secret names an agent that this namespace may not adopt.
	AdoptionNotAllowed Code = "AdoptionNotAllowed"
	// RecordedElsewhere: nothing shows the recorded agent to be ours at this endpoint.
	RecordedElsewhere Code = "RecordedElsewhere"
	// IDUnknown: the API has the agent and does not reveal its ID.
	IDUnknown Code = "IDUnknown"
	// MaybeOrphaned: an agent may be left that cannot be identified as ours.
	MaybeOrphaned Code = "MaybeOrphaned"
)

// Action is the one thing to do now.
type Action struct {
	Kind      Kind
	Source    Source    // of Read, Lookup and Adopt
	NotBefore time.Time // of ReadInventory
	Until     time.Time // of Wait; zero: until something changes
	Code      Code
}
