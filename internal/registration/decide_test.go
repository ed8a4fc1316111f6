/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"slices"
	"testing"
	"time"
)

var (
	started = noon.Add(-time.Hour)
	met     = noon.Add(-10 * time.Minute)
	slack   = noon.Add(-5 * time.Minute) // is over
)

// absent are the facts of an Agent that was never registered, where everything allows to register it.
func absent(changes ...func(*Facts)) Facts {
	f := Facts{Now: noon, Started: started, SessionFree: true, Listing: ListingYes, SnapshotAt: noon.Add(-time.Second)}
	for s := range f.Found {
		f.Found[s] = None
	}
	for _, change := range changes {
		change(&f)
	}
	return f
}

// doubtful are the facts of an open registration, long after its slack, of which nothing is found.
func doubtful(changes ...func(*Facts)) Facts {
	changes = append([]func(*Facts){func(f *Facts) {
		f.Open, f.Authentic, f.Met, f.SentAt, f.Trusted = true, true, met, met, slack
	}}, changes...)
	return absent(changes...)
}

func finding(s Source, what Finding) func(*Facts) { return func(f *Facts) { f.Found[s] = what } }
func came(o Outcome) func(*Facts)                 { return func(f *Facts) { f.Outcome = o } }
func early(f *Facts)                              { f.Trusted = noon.Add(time.Minute) }
func noList(f *Facts)                             { f.Listing, f.SnapshotAt = ListingNo, time.Time{} }
func listUnknown(f *Facts)                        { f.Listing, f.SnapshotAt = ListingUnknown, time.Time{} }
func snapshotAt(at time.Time) func(*Facts)        { return func(f *Facts) { f.SnapshotAt = at } }
func chosen(f *Facts)                             { f.Explicit = true }
func again(f *Facts)                              { f.Repeated = true }
func forgedIntent(f *Facts)                       { f.Authentic = false }
func goes(f *Facts)                               { f.Deleting = true }
func pausing(f *Facts)                            { f.HeldUntil = noon.Add(time.Hour) }
func leased(f *Facts)                             { f.Lease = LeaseTaken }
func notAllowed(f *Facts)                         { f.Barred = true }

// cases has at least one row for each row of the table, and for its default.
var cases = []struct {
	name  string
	facts Facts
	want  Action
}{
	{"recorded", absent(func(f *Facts) { f.Recorded = true }), Action{Kind: Keep}},
	{"recorded, with everything else in the way", absent(func(f *Facts) { f.Recorded, f.ReadOnly, f.Paused = true, true, true }), Action{Kind: Keep}},
	{"never registered", absent(), Action{Kind: Create}},
	{"never registered, where nothing is listed", absent(noList), Action{Kind: Create}},
	{"never registered, and deleted", absent(goes), Action{Kind: Release}},
	{"refused and closed", absent(came(OutcomeNothing)), Action{Kind: Fail, Code: Refused}},
	{"taken and closed", absent(came(OutcomeConflict), chosen), Action{Kind: Fail, Code: MachineIDTaken}},
	{"read-only", absent(func(f *Facts) { f.ReadOnly = true }), Action{Kind: Fail, Code: OperatorReadOnly}},
	{"paused", absent(func(f *Facts) { f.Paused = true }), Action{Kind: Wait, Code: RegistrationPaused}},
	{"leased to another Agent", absent(leased), Action{Kind: Fail, Code: MachineIDLeased}},
	{"a foreign token Secret", absent(finding(Secret, Foreign)), Action{Kind: Fail, Code: SecretTaken}},
	{"a token Secret with another's ID", absent(finding(Secret, NotEntitled)), Action{Kind: Fail, Code: AdoptionNotAllowed}},
	{"the token Secret was not read", absent(finding(Secret, Unread)), Action{Kind: Read, Source: Secret}},
	{"the token Secret names an agent", absent(finding(Secret, Named)), Action{Kind: Lookup, Source: Secret}},
	{"the token Secret names ours", absent(finding(Secret, Ours)), Action{Kind: Adopt, Source: Secret}},
	{"the snapshot is older than this process", absent(snapshotAt(started)), Action{Kind: ReadInventory, NotBefore: started}},
	{"not known whether the API lists", absent(listUnknown), Action{Kind: ReadInventory, NotBefore: started}},
	{"the snapshot names an agent", absent(finding(Snapshot, Named)), Action{Kind: Lookup, Source: Snapshot}},
	{"the snapshot names ours", absent(finding(Snapshot, Ours)), Action{Kind: Adopt, Source: Snapshot}},
	{"the snapshot names an agent with a chosen machine ID", absent(chosen, finding(Snapshot, Named)), Action{Kind: Lookup, Source: Snapshot}},
	{"another's agent has the chosen machine ID", absent(chosen, finding(Snapshot, NotEntitled)), Action{Kind: Fail, Code: MachineIDTaken}},
	{"an agent that may be adopted has the chosen machine ID", absent(chosen, finding(Snapshot, Ours)), Action{Kind: Fail, Code: MachineIDTaken}},
	{"another Agent was not read", absent(finding(Cluster, Unread)), Action{Kind: Read, Source: Cluster}},
	{"another Agent names an agent", absent(finding(Cluster, Named)), Action{Kind: Lookup, Source: Cluster}},
	{"another Agent names ours", absent(finding(Cluster, Ours)), Action{Kind: Adopt, Source: Cluster}},
	{"a foreign session Secret", absent(func(f *Facts) { f.SessionFree = false }), Action{Kind: Fail, Code: SessionTaken}},

	{"the request created nothing", doubtful(early, came(OutcomeNothing)), Action{Kind: CloseIntent}},
	{"the repeated request created nothing, and lists show what the first did", doubtful(early, again, came(OutcomeNothing)), Action{Kind: CloseIntent}},
	{"the repeated request created nothing, the first perhaps something", doubtful(early, again, noList, came(OutcomeNothing)),
		Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"a chosen machine ID is taken", doubtful(early, chosen, came(OutcomeConflict), snapshotAt(started)), Action{Kind: CloseIntent}},
	{"something in between says that a chosen machine ID is taken", doubtful(early, chosen, came(OutcomeForeignConflict)),
		Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"taken, the snapshot is older than the request", doubtful(early, came(OutcomeConflict), snapshotAt(met)), Action{Kind: ReadInventory, NotBefore: met}},
	{"taken, the snapshot names an agent", doubtful(early, came(OutcomeConflict), finding(Snapshot, Named)), Action{Kind: Lookup, Source: Snapshot}},
	{"taken, by ours", doubtful(early, came(OutcomeConflict), finding(Snapshot, Ours)), Action{Kind: Adopt, Source: Snapshot}},
	{"taken again, by another's", doubtful(early, again, chosen, came(OutcomeConflict), finding(Snapshot, NotEntitled)), Action{Kind: CloseIntent}},
	{"taken, and nothing is listed", doubtful(early, noList, came(OutcomeConflict)), Action{Kind: Fail, Code: IDUnknown}},
	{"taken again, and nothing is listed", doubtful(early, noList, again, chosen, came(OutcomeConflict)), Action{Kind: Fail, Code: IDUnknown}},
	{"taken, as something says once, and nothing is listed", doubtful(early, noList, came(OutcomeForeignConflict)),
		Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"taken, as something says again, and nothing is listed", doubtful(early, noList, again, came(OutcomeForeignConflict)), Action{Kind: Fail, Code: IDUnknown}},
	{"the status was not read", doubtful(early, finding(Record, Unread)), Action{Kind: Read, Source: Record}},
	{"the status names an agent", doubtful(early, finding(Record, Named)), Action{Kind: Lookup, Source: Record}},
	{"the status names ours", doubtful(early, finding(Record, Ours)), Action{Kind: Adopt, Source: Record}},
	{"the status names an agent of another endpoint", doubtful(finding(Record, NotEntitled)), Action{Kind: Fail, Code: RecordedElsewhere}},
	{"the response was not read", doubtful(early, finding(Response, Unread)), Action{Kind: Read, Source: Response}},
	{"the response names an agent", doubtful(early, finding(Response, Named)), Action{Kind: Lookup, Source: Response}},
	{"the response names ours", doubtful(early, finding(Response, Ours)), Action{Kind: Adopt, Source: Response}},
	{"the Secret of the registration was not read", doubtful(early, finding(SecretIntent, Unread)), Action{Kind: Read, Source: SecretIntent}},
	{"the Secret of the registration names an agent", doubtful(early, finding(SecretIntent, Named)), Action{Kind: Lookup, Source: SecretIntent}},
	{"the Secret of the registration names ours", doubtful(early, finding(SecretIntent, Ours)), Action{Kind: Adopt, Source: SecretIntent}},
	{"in doubt, no snapshot since", doubtful(early, snapshotAt(met)), Action{Kind: ReadInventory, NotBefore: met}},
	{"in doubt, the snapshot is from before the end of the slack", doubtful(snapshotAt(slack)), Action{Kind: ReadInventory, NotBefore: slack}},
	{"in doubt, the snapshot names an agent", doubtful(early, finding(Snapshot, Named)), Action{Kind: Lookup, Source: Snapshot}},
	{"in doubt, a chosen machine ID, the snapshot names an agent", doubtful(early, chosen, finding(Snapshot, Named)), Action{Kind: Lookup, Source: Snapshot}},
	{"in doubt, the snapshot names ours", doubtful(early, chosen, finding(Snapshot, Ours)), Action{Kind: Adopt, Source: Snapshot}},
	{"in doubt, the slack is not over", doubtful(early), Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"in doubt, the slack is not over, and nothing is listed", doubtful(early, noList), Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"in doubt, the slack is over", doubtful(), Action{Kind: Create}},
	{"in doubt, the slack is over, and nothing is listed", doubtful(noList), Action{Kind: Create}},
	{"in doubt, another's agent has the chosen machine ID", doubtful(chosen, finding(Snapshot, NotEntitled)), Action{Kind: Fail, Code: MachineIDTaken}},
	{"deleting in doubt, nothing is there", doubtful(goes), Action{Kind: Release}},
	{"deleting in doubt, before the slack is over", doubtful(goes, early), Action{Kind: Wait, Until: noon.Add(time.Minute), Code: InDoubt}},
	{"deleting in doubt, with an intent of another endpoint", doubtful(goes, forgedIntent), Action{Kind: Release, Code: MaybeOrphaned}},
	{"deleting in doubt, with another's chosen machine ID", doubtful(goes, chosen, finding(Snapshot, NotEntitled)), Action{Kind: Release, Code: MaybeOrphaned}},
	{"deleting in doubt, nothing is listed", doubtful(goes, noList), Action{Kind: Create}},
	{"deleting in doubt, nothing is listed, after many refusals", doubtful(goes, noList, pausing), Action{Kind: Wait, Until: noon.Add(time.Hour), Code: Fruitless}},
	{"deleting in doubt, nothing is listed, after many refusals, the machine ID is another Agent's", doubtful(goes, noList, pausing, leased),
		Action{Kind: Release, Code: MaybeOrphaned}},
	{"in doubt, the slack is over, nothing is listed, after many refusals", doubtful(noList, pausing), Action{Kind: Wait, Until: noon.Add(time.Hour), Code: Fruitless}},
	{"absent after many losses", absent(pausing), Action{Kind: Wait, Until: noon.Add(time.Hour), Code: Fruitless}},
	{"absent after many losses, the snapshot names ours", absent(pausing, finding(Snapshot, Ours)), Action{Kind: Adopt, Source: Snapshot}},
	{"absent after many losses, the pause is over", absent(func(f *Facts) { f.HeldUntil = noon }), Action{Kind: Create}},
	{"deleting in doubt, nothing is listed, read-only is not asked", doubtful(goes, noList, func(f *Facts) { f.Paused = true }), Action{Kind: Create}},
	{"deleting in doubt, nothing is listed, the machine ID is another Agent's", doubtful(goes, noList, leased), Action{Kind: Release, Code: MaybeOrphaned}},
	{"deleting in doubt, nothing is listed, the namespace is not allowed", doubtful(goes, noList, notAllowed), Action{Kind: Create}},
	{"deleting in doubt, nothing is listed, the namespace is not allowed, a chosen machine ID", doubtful(goes, noList, notAllowed, chosen),
		Action{Kind: Release, Code: MaybeOrphaned}},
	{"deleting in doubt, nothing is listed, a chosen machine ID", doubtful(goes, noList, chosen, forgedIntent), Action{Kind: Release, Code: MaybeOrphaned}},
}

func TestDecide(t *testing.T) {
	for _, row := range cases {
		t.Run(row.name, func(t *testing.T) {
			if got := Decide(row.facts); got != row.want {
				t.Errorf("%+v, want %+v", got, row.want)
			}
		})
	}
}

// Each row of the table is needed: without it, or with its condition turned around, a case above fails.
func TestDecide_EveryMutantOfTheTableDies(t *testing.T) {
	for i, row := range Table {
		without := slices.Delete(slices.Clone(Table), i, i+1)
		flipped := slices.Clone(Table)
		flipped[i].When = not(row.When)
		for name, mutant := range map[string][]Row{"dropped": without, "flipped": flipped} {
			dies := slices.ContainsFunc(cases, func(c struct {
				name  string
				facts Facts
				want  Action
			}) bool {
				return decide(mutant, c.facts) != c.want
			})
			if !dies {
				t.Errorf("the row %q can be %s, and no case fails", row.If, name)
			}
		}
	}
}
