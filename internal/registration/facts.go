/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import "time"

// Source is a place that may name the remote agent of an Agent.
type Source int

const (
	// Record is the ID in the status.
	Record Source = iota
	// Response is the response to a registration that this process could not persist.
	Response
	// SecretIntent is the ID that the token Secret got from the open registration.
	SecretIntent
	// Secret is any ID in the token Secret.
	Secret
	// Snapshot is the inventory: the agents with the Agent's machine ID. It is read by ReadInventory.
	Snapshot
	// Cluster is another Agent that chose the machine ID derived for this one.
	Cluster
	sources
)

// String names the source in a sentence.
func (s Source) String() string {
	return [...]string{
		"the status", "the response that was not persisted", "the Secret of this registration", "the token Secret",
		"the snapshot", "another Agent",
	}[s]
}

// Finding is what a source says.
type Finding int

const (
	// Unread: the source was not read yet.
	Unread Finding = iota
	// None: it names no remote agent that is ours.
	None
	// Named: it names one that was not looked up yet.
	Named
	// Ours: a lookup showed our machine ID, and we are entitled to it.
	Ours
	// Foreign: the Secret belongs to somebody else, who has to remove it first.
	Foreign
	// NotEntitled: a lookup showed an agent with our machine ID, and nothing entitles us to it.
	NotEntitled
	findings
)

// Listing says whether the API lists the agents of a project.
type Listing int

const (
	// ListingUnknown: it is not known yet. It must not be taken for no.
	ListingUnknown Listing = iota
	// ListingNo: it does not.
	ListingNo
	// ListingYes: it does.
	ListingYes
	listings
)

// Outcome is what this process knows of the last request that the intent covers.
type Outcome int

const (
	// OutcomeUnknown: no request of this process, or no response to it.
	OutcomeUnknown Outcome = iota
	// OutcomeNothing: it created nothing: it was not sent, or the API itself refused it.
	OutcomeNothing
	// OutcomeConflict: the API says that the machine ID is taken, perhaps by what we created.
	OutcomeConflict
	// OutcomeForeignConflict: something in between says so.
	OutcomeForeignConflict
	outcomes
)

// Lease says who else may be using the machine ID.
type Lease int

const (
	// LeaseOurs: nobody.
	LeaseOurs Lease = iota
	// LeaseTaken: another Agent that has it.
	LeaseTaken
	leases
)

// Facts are all that Decide looks at. Each is observed; none is decided.
type Facts struct {
	Now time.Time

	// Deleting: the Agent is being deleted.
	Deleting bool
	// ReadOnly: the operator writes nothing remote.
	ReadOnly bool
	// Paused: nothing new is registered in the project for now.
	Paused bool
	// HeldUntil is the end of the pause after registrations that came to nothing; zero for none.
	HeldUntil time.Time
	// Explicit: the machine ID was chosen, so it may be somebody else's.
	Explicit bool
	// MayAdopt: the CloudProject allows the namespace to adopt agents.
	MayAdopt bool
	// Barred: the CloudProject does not allow the namespace. Only a deletion comes that far. It registers nothing but its own derived
	// machine ID, to learn the ID of what is deleted then.
	Barred bool
	// Lease of the machine ID among the Agents of the cluster.
	Lease Lease
	// SessionFree: the session Secret is not somebody else's.
	SessionFree bool

	// Recorded: the status records a remote agent and no registration is open.
	Recorded bool
	// Open: a registration was begun and its outcome is not recorded.
	Open bool
	// Authentic: the open intent was signed with the project token, for this URL.
	Authentic bool
	// Repeated: an earlier attempt of the open registration may have created something, too.
	Repeated bool
	// Met is when this process saw the intent first.
	Met time.Time
	// Trusted is the end of the slack, which begins when this process wrote the intent or first saw it: an agent that is not found
	// later was not created.
	Trusted time.Time
	// Outcome of the last request, sent at SentAt.
	Outcome Outcome
	SentAt  time.Time

	// Found is what each source says.
	Found [sources]Finding
	// Listing says whether there are snapshots; SnapshotAt is when the snapshot behind Found was begun.
	Listing    Listing
	SnapshotAt time.Time
	// Started is when this process started, or what came after that and makes an older snapshot useless before a registration.
	Started time.Time
}
