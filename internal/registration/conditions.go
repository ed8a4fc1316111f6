/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import "time"

// The conditions of the decision table.

func always(Facts) bool        { return true }
func open(f Facts) bool        { return f.Open }
func recorded(f Facts) bool    { return f.Recorded }
func deleting(f Facts) bool    { return f.Deleting }
func readOnly(f Facts) bool    { return f.ReadOnly }
func barred(f Facts) bool      { return f.Barred }
func paused(f Facts) bool      { return f.Paused }
func explicit(f Facts) bool    { return f.Explicit }
func repeated(f Facts) bool    { return f.Repeated }
func sessionFree(f Facts) bool { return f.SessionFree }
func leaseTaken(f Facts) bool  { return f.Lease == LeaseTaken }
func lists(f Facts) bool       { return f.Listing == ListingYes }
func listsNot(f Facts) bool    { return f.Listing == ListingNo }

// trusted: the slack is over, so an agent that is not found does not exist.
func trusted(f Facts) bool { return !f.Now.Before(f.Trusted) }

// held: the last registrations came to nothing, and the pause after them is not over.
func held(f Facts) bool { return f.Now.Before(f.HeldUntil) }

// seen: what earlier requests of the same registration created would be listed.
func seen(f Facts) bool { return !f.Repeated || f.Listing == ListingYes }

func conflict(f Facts) bool {
	return f.Outcome == OutcomeConflict || f.Outcome == OutcomeForeignConflict
}

// blind: the response to a repeated request could be an agent that is not ours.
func blind(f Facts) bool { return f.Explicit && !f.MayAdopt && !f.Authentic || f.Lease == LeaseTaken }

// unclear: an agent may be left that cannot be identified as ours.
func unclear(f Facts) bool { return !f.Authentic || f.Explicit && f.Found[Snapshot] == NotEntitled }

// snapshotShows: a lookup showed that an agent of the snapshot exists.
func snapshotShows(f Facts) bool {
	return f.Found[Snapshot] == Ours || f.Found[Snapshot] == NotEntitled
}

// doubtFrom is the earliest start of a snapshot that resolves a registration in doubt: at first such a snapshot can only
// show the agent; after the slack its absence counts, too.
func (f Facts) doubtFrom() time.Time {
	if trusted(f) {
		return f.Trusted
	}
	return f.Met
}
func (f Facts) sent() time.Time  { return f.SentAt }
func (f Facts) start() time.Time { return f.Started }

// A snapshot that may exist and is not later than something.
func (f Facts) older(than time.Time) bool { return f.Listing != ListingNo && !f.SnapshotAt.After(than) }
func olderThanRequest(f Facts) bool       { return f.older(f.SentAt) }
func olderThanDoubt(f Facts) bool         { return f.older(f.doubtFrom()) }
func olderThanStart(f Facts) bool         { return f.older(f.Started) }

func not(condition func(Facts) bool) func(Facts) bool {
	return func(f Facts) bool { return !condition(f) }
}

func all(conditions ...func(Facts) bool) func(Facts) bool {
	return func(f Facts) bool {
		for _, holds := range conditions {
			if !holds(f) {
				return false
			}
		}
		return true
	}
}

func found(s Source, finding Finding) func(Facts) bool {
	return func(f Facts) bool { return f.Found[s] == finding }
}

func outcome(o Outcome) func(Facts) bool { return func(f Facts) bool { return f.Outcome == o } }

// The actions of the decision table.

func do(a Action) func(Facts) Action     { return func(Facts) Action { return a } }
func fail(code Code) func(Facts) Action  { return do(Action{Kind: Fail, Code: code}) }
func lookup(s Source) func(Facts) Action { return do(Action{Kind: Lookup, Source: s}) }
func adopt(s Source) func(Facts) Action  { return do(Action{Kind: Adopt, Source: s}) }
func pause(f Facts) Action               { return Action{Kind: Wait, Until: f.HeldUntil, Code: Fruitless} }
func releaseUnclear(Facts) Action        { return Action{Kind: Release, Code: MaybeOrphaned} }

func inventorySince(from func(Facts) time.Time) func(Facts) Action {
	return func(f Facts) Action { return Action{Kind: ReadInventory, NotBefore: from(f)} }
}
