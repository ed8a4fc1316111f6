/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package safeguard

import (
	"maps"
	"slices"
	"sort"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// missing is an agent that was not found: when that was certain, since when it may be missing, and when it was found last.
type missing struct {
	at, since, seenAt time.Time
	namespace         string
}

// seen is a remote agent, and when it was found last; zero if this process did not find it yet.
type seen struct {
	at time.Time
	id string
}

// agents are the remote agents of the project, by the Agents that have or had them. The Safeguard's lock is held where they are used.
type agents struct {
	recorded map[types.UID]seen // remote agents that the Agents record, or that the newest snapshot lacks; seen is newer
	seen     map[types.UID]seen
	missing  map[types.UID]missing
}

// record records a remote agent, with the time at which it was found if that was recorded before.
func (a *agents) record(before seen, who types.UID, id string) {
	if before.id != id {
		before = seen{id: id}
	}
	a.recorded[who] = before
}

// compare updates the seen agents from the newest snapshot, and returns its time; zero if there is none.
func (a *agents) compare(project Project) (listedAt time.Time) {
	project.Newest(func(at time.Time, has func(id string) bool) {
		listedAt = at
		for who, last := range a.seen {
			if last.at.Before(at) { // What the snapshot lacks counts as an agent that is only recorded.
				delete(a.seen, who)
				a.recorded[who] = last
			}
		}
		for who, last := range a.recorded {
			if _, later := a.seen[who]; !later && has(last.id) {
				a.seen[who] = seen{at: at, id: last.id}
			}
		}
	})
	return listedAt
}

// dropEarlier drops agents that were lost in an earlier event: their Agents have agents again, and all that are missing now were
// still found when these were missed. Of agents that disappear at once none is found later.
func (a *agents) dropEarlier(now time.Time) {
	found := now // the first of the times at which those that are missing now were found last
	for who, m := range a.missing {
		if _, again := a.seen[who]; !again && m.seenAt.Before(found) {
			found = m.seenAt
		}
	}
	for who, last := range a.recorded {
		_, there := a.seen[who]
		if _, missed := a.missing[who]; !there && !missed && last.at.Before(found) {
			found = last.at
		}
	}
	maps.DeleteFunc(a.missing, func(who types.UID, m missing) bool {
		_, again := a.seen[who]
		return again && !m.since.After(found)
	})
}

// count returns how many agents the newest snapshot shows, or were found since, and how many it lacks. Neither counts Agents whose agent
// was missed, also if they were registered again.
func (a *agents) count() (there, unlisted int) {
	for who := range a.seen {
		if _, missed := a.missing[who]; !missed {
			there++
		}
	}
	for who := range a.recorded {
		_, found := a.seen[who]
		_, missed := a.missing[who]
		if !found && !missed {
			unlisted++
		}
	}
	return there, unlisted
}

// mostAreMissing reports, for an API that does not list agents, whether from some moment on more agents were missed than seen. Agents seen
// before that moment do not count: else half of all agents would be registered again before the loss is noticed. Nor do agents missed
// long before.
func (a *agents) mostAreMissing() bool {
	var missed []time.Time
	for _, m := range a.missing {
		missed = append(missed, m.since)
	}
	slices.SortFunc(missed, func(x, y time.Time) int { return y.Compare(x) }) // The latest first.
	there := make([]int, len(missed)+1)                                       // seen at or after each of them, and not counted before
	for _, last := range a.seen {
		there[sort.Search(len(missed), func(i int) bool { return !last.at.Before(missed[i]) })]++
	}
	later := 0
	for i := range missed {
		later += there[i]
		if lost := i + 1; lost >= least && lost > later {
			return true
		}
	}
	return false
}
