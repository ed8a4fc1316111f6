/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import "slices"

// Row of the decision table: the first one that applies decides.
type Row struct {
	// If says in words when it applies.
	If   string
	When func(Facts) bool
	Then func(Facts) Action
}

// Decide returns the one action that the facts call for. It is total, and repeating it ends: each action changes a
// fact, or waits for a time or a change.
func Decide(f Facts) Action { return decide(Table, f) }

func decide(table []Row, f Facts) Action {
	for _, row := range table {
		if row.When(f) {
			return row.Then(f)
		}
	}
	return Action{Kind: Create}
}

// Table is the decision table. Where no row applies, the registration is created.
var Table = slices.Concat(
	[]Row{
		{"the status records an agent, and nothing is open", all(not(open), recorded), do(Action{Kind: Keep})},
		{"deleting, nothing is open", all(deleting, not(open)), do(Action{Kind: Release})},
		{"the request created nothing, and its intent is closed", all(not(open), outcome(OutcomeNothing)), fail(Refused)},
		{"the machine ID is taken, and the intent is closed", all(not(open), outcome(OutcomeConflict)), fail(MachineIDTaken)},
		{"the request created nothing, and no earlier one did unseen", all(open, outcome(OutcomeNothing), seen), do(Action{Kind: CloseIntent})},
		{"the API says that a chosen machine ID was taken before the first request", all(open, outcome(OutcomeConflict), explicit, not(repeated)),
			do(Action{Kind: CloseIntent})},
		{"the machine ID is taken, and no snapshot was begun since", all(open, conflict, olderThanRequest), inventorySince(Facts.sent)},
		{"the machine ID is taken, and the snapshot names an agent", all(open, conflict, found(Snapshot, Named)), lookup(Snapshot)},
		{"the machine ID is taken by an agent of ours", all(open, conflict, found(Snapshot, Ours)), adopt(Snapshot)},
		{"the API says that a chosen machine ID is taken by another's", all(open, outcome(OutcomeConflict), explicit, lists),
			do(Action{Kind: CloseIntent})},
		{"the API has the agent and does not reveal its ID", all(open, outcome(OutcomeConflict)), fail(IDUnknown)},
		{"something says again that the machine ID is taken, and nothing is listed",
			all(open, outcome(OutcomeForeignConflict), listsNot, repeated), fail(IDUnknown)},
	},
	follow(Record, open),
	[]Row{
		{"the status names an agent that is not ours at this endpoint", all(open, found(Record, NotEntitled)), fail(RecordedElsewhere)},
	},
	follow(Response, open),
	follow(SecretIntent, open),
	[]Row{
		{"in doubt, and no snapshot was begun late enough", all(open, olderThanDoubt), inventorySince(Facts.doubtFrom)},
		{"in doubt, and the snapshot names an agent", all(open, found(Snapshot, Named)), lookup(Snapshot)},
		{"in doubt, and the agent in the snapshot is ours", all(open, found(Snapshot, Ours)), adopt(Snapshot)},
		{"in doubt, before the slack is over", all(open, not(trusted)), func(f Facts) Action {
			return Action{Kind: Wait, Until: f.Trusted, Code: InDoubt}
		}},
		{"deleting, a snapshot lacks the agent, and it may be elsewhere or another's", all(deleting, lists, unclear), releaseUnclear},
		{"deleting, a snapshot lacks the agent", all(deleting, lists), do(Action{Kind: Release})},
		{"deleting, and another request could reach another's agent", all(deleting, blind), releaseUnclear},
		{"deleting, and the namespace is not allowed to choose a machine ID", all(deleting, barred, explicit), releaseUnclear},
		{"deleting, and the last registrations came to nothing", all(deleting, held), pause},
		{"deleting, and only another request reveals the ID", deleting, do(Action{Kind: Create})},

		{"the operator runs with --read-only", readOnly, fail(OperatorReadOnly)},
		{"registration is paused", paused, do(Action{Kind: Wait, Code: RegistrationPaused})},
		{"another Agent has the machine ID", leaseTaken, fail(MachineIDLeased)},
		{"the token Secret is somebody else's", found(Secret, Foreign), fail(SecretTaken)},
		{"the token Secret names an agent that may not be adopted", found(Secret, NotEntitled), fail(AdoptionNotAllowed)},
	},
	follow(Secret, always),
	[]Row{
		{"no snapshot was begun late enough", olderThanStart, inventorySince(Facts.start)},
		{"the snapshot names an agent", found(Snapshot, Named), lookup(Snapshot)},
		{"an agent of the snapshot exists and has the chosen machine ID", all(explicit, snapshotShows), fail(MachineIDTaken)},
		{"the agent in the snapshot is ours", found(Snapshot, Ours), adopt(Snapshot)},
	},
	follow(Cluster, always),
	[]Row{
		{"the session's Secret is somebody else's", not(sessionFree), fail(SessionTaken)},
		{"the last registrations came to nothing, and nothing changed since", held, pause},
	},
)

// follow are the rows of a source: it is read, what it names is looked up, and what is ours is recorded.
func follow(s Source, when func(Facts) bool) []Row {
	name := s.String()
	return []Row{
		{name + " was not read", all(when, found(s, Unread)), do(Action{Kind: Read, Source: s})},
		{name + " names an agent", all(when, found(s, Named)), lookup(s)},
		{name + " names an agent of ours", all(when, found(s, Ours)), adopt(s)},
	}
}
