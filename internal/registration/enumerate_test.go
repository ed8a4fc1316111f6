/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"testing"
	"time"
)

// each calls f with every combination of the facts that matter to a registration that is open, or not.
func each(isOpen bool, f func(Facts)) {
	named := []Finding{Unread, None, Named, Ours}
	once := []Finding{None}
	record, response, intent, secret, cluster := once, once, once, []Finding{None, Ours, NotEntitled}, once
	if isOpen {
		record, response, intent = append(named, NotEntitled), named, named
	} else {
		secret, cluster = []Finding{Unread, None, Named, Ours, Foreign, NotEntitled}, named
	}
	ages := []time.Time{{}, started, met, slack, noon.Add(-time.Second)}
	for bits := range 1 << 6 {
		on := func(bit int) bool { return bits&(1<<bit) != 0 }
		base := Facts{
			Now: noon, Started: started, Open: isOpen, Met: met, SentAt: met, SessionFree: true,
			Deleting: on(0), Explicit: on(1), MayAdopt: on(2),
		}
		if isOpen { // What follows is said of an open intent alone.
			base.Authentic, base.Repeated = on(3), on(4)
		} else if base.SessionFree = on(3); on(4) {
			continue
		}
		if base.Barred = on(5); base.Barred && (!isOpen || !base.Deleting || base.MayAdopt) {
			continue // Nothing else comes to a decision then.
		}
		for policy := range 4 {
			base.ReadOnly, base.Paused, base.Recorded = policy == 1, policy == 2, policy == 3
			for lease := range leases {
				for outcome := range outcomes {
					base.Lease, base.Outcome = lease, outcome
					findings := [...][]Finding{record, response, intent, secret, {None, Named, Ours, NotEntitled}, cluster}
					for _, end := range []time.Time{slack, noon.Add(time.Minute)} {
						base.Trusted, base.HeldUntil = end, time.Time{}
						eachSource(base, ages, findings, f)
						if policy == 0 {
							base.HeldUntil = noon.Add(time.Minute)
							eachSource(base, ages, findings, f)
						}
					}
				}
			}
		}
	}
}

func eachSource(base Facts, ages []time.Time, domain [sources][]Finding, f func(Facts)) {
	for listing := range listings {
		for _, at := range ages {
			if listing != ListingYes && !at.IsZero() {
				continue // There is no snapshot.
			}
			base.Listing, base.SnapshotAt = listing, at
			var choose func(Source)
			choose = func(s Source) {
				if s == sources {
					f(base)
					return
				}
				for _, finding := range domain[s] {
					if s == Snapshot && at.IsZero() && finding != None {
						continue
					}
					base.Found[s] = finding
					choose(s + 1)
				}
			}
			choose(0)
		}
	}
}

// invariants are what must hold for each decision, whatever the facts.
var invariants = []struct {
	name  string
	holds func(Facts, Action) bool
}{
	{"nothing is created in the pause after registrations that came to nothing", func(f Facts, a Action) bool {
		return a.Kind != Create || !held(f)
	}},
	{"such a pause keeps no Agent that can be released or has an agent", func(f Facts, a Action) bool {
		return a.Code != Fruitless || held(f) && (!f.Deleting || f.Open && f.Listing == ListingNo) && (f.Open || !f.Recorded)
	}},
	{"nothing is created while in doubt before the slack is over", func(f Facts, a Action) bool {
		return a.Kind != Create || !f.Open || trusted(f)
	}},
	{"where snapshots exist, a second request needs one that was begun after the slack and names no agent of ours", func(f Facts, a Action) bool {
		return a.Kind != Create || !f.Open || f.Listing == ListingNo ||
			f.Listing == ListingYes && f.SnapshotAt.After(f.Trusted) && (f.Found[Snapshot] == None || f.Found[Snapshot] == NotEntitled)
	}},
	{"where snapshots exist, a first request needs one that was begun after this process started", func(f Facts, a Action) bool {
		return a.Kind != Create || f.Listing == ListingNo || f.Listing == ListingYes && f.SnapshotAt.After(f.Started)
	}},
	{"nothing is created while a source names an agent that was not looked up, is ours, or is recorded elsewhere", func(f Facts, a Action) bool {
		if a.Kind != Create {
			return true
		}
		for s, finding := range f.Found {
			open := Source(s) == Record || Source(s) == Response || Source(s) == SecretIntent
			living := Source(s) == Secret || Source(s) == Cluster
			if Source(s) == Record && f.Open && finding == NotEntitled {
				return false
			}
			relevant := open && f.Open || living && !f.Deleting || Source(s) == Snapshot
			if relevant && (finding == Named || finding == Ours || finding == Unread) {
				return false
			}
		}
		return true
	}},
	{"nothing is created with somebody else's machine ID in the snapshot", func(f Facts, a Action) bool {
		return a.Kind != Create || !f.Explicit || f.Listing != ListingYes || f.Found[Snapshot] == None
	}},
	{"nothing is created by an operator that is read-only, paused, or without the lease", func(f Facts, a Action) bool {
		return a.Kind != Create || f.Lease == LeaseOurs && (f.Deleting || !f.ReadOnly && !f.Paused)
	}},
	{"for an Agent that is being deleted nothing is created but what resolves an open registration where nothing is listed", func(f Facts, a Action) bool {
		return a.Kind != Create || !f.Deleting || f.Open && f.Listing == ListingNo && (!f.Explicit || f.MayAdopt || f.Authentic)
	}},
	{"nothing is created for a namespace that is not allowed, but a derived machine ID that may be there", func(f Facts, a Action) bool {
		return a.Kind != Create || !f.Barred || !f.Explicit && f.Open && f.Listing == ListingNo
	}},
	{"nothing is created after the API said that the machine ID is taken", func(f Facts, a Action) bool {
		return a.Kind != Create || f.Outcome != OutcomeConflict
	}},
	{"nothing is created beside a recorded agent", func(f Facts, a Action) bool {
		return a.Kind != Create || f.Open || !f.Recorded
	}},
	{"only what a lookup showed to be ours is adopted", func(f Facts, a Action) bool {
		return a.Kind != Adopt || f.Found[a.Source] == Ours
	}},
	{"only an open registration is closed, and only by a word of the API or an unsent request", func(f Facts, a Action) bool {
		return a.Kind != CloseIntent || f.Open && (f.Outcome == OutcomeNothing || f.Outcome == OutcomeConflict && f.Explicit)
	}},
	{"a first request that may have created something unseen is not closed by a second", func(f Facts, a Action) bool {
		return a.Kind != CloseIntent || !f.Repeated || f.Listing == ListingYes
	}},
	{"an Agent is released only when it is deleted, and nothing is in doubt", func(f Facts, a Action) bool {
		return a.Kind != Release || f.Deleting && (!f.Open || trusted(f))
	}},
	{"a wait ends later, or by a change", func(f Facts, a Action) bool {
		return a.Kind != Wait || a.Until.IsZero() || a.Until.After(f.Now)
	}},
	{"a snapshot is asked for only where the one that there is does not do", func(f Facts, a Action) bool {
		return a.Kind != ReadInventory || f.Listing != ListingNo && !f.SnapshotAt.After(a.NotBefore)
	}},
	{"a source is read once", func(f Facts, a Action) bool { return a.Kind != Read || f.Found[a.Source] == Unread }},
	{"an agent is looked up once", func(f Facts, a Action) bool { return a.Kind != Lookup || f.Found[a.Source] == Named }},
	{"a snapshot alone takes no machine ID: a lookup has to show the agent", func(f Facts, a Action) bool {
		closed := !f.Open && f.Outcome == OutcomeConflict
		return a.Code != MachineIDTaken || closed || f.Found[Snapshot] == Ours || f.Found[Snapshot] == NotEntitled
	}},
	{"a failure says why", func(_ Facts, a Action) bool { return a.Kind != Fail || a.Code != NoCode }},
	{"there is always something to do", func(_ Facts, a Action) bool { return a.Kind != "" }},
}

func TestDecide_EveryCombinationOfFacts(t *testing.T) {
	t.Parallel()
	n := 0
	failed := map[string]bool{}
	for _, isOpen := range []bool{true, false} {
		each(isOpen, func(f Facts) {
			n++
			a := Decide(f)
			for _, invariant := range invariants {
				if !failed[invariant.name] && !invariant.holds(f, a) {
					failed[invariant.name] = true
					t.Errorf("%s, but %+v for\n%+v", invariant.name, a, f)
				}
			}
		})
	}
	t.Logf("%d combinations", n)
	if n < 1_000_000 {
		t.Errorf("only %d combinations", n)
	}
}
