/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package connection_test

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// team is a crew with what its Agents record.
type team struct {
	*world
	recorded map[types.UID]string
}

func newTeam(t *testing.T, settings cloudtest.Settings, n int) team {
	t.Helper()
	w := team{verified(t, settings), map[types.UID]string{}}
	for i := range n {
		w.records(i, w.register(fmt.Sprint("crew-", i)))
	}
	w.clock.Step(time.Second)
	w.check(nil)
	return w
}

func (w team) records(i int, id string) {
	w.recorded[uid("crew", i)] = id
	w.Recorded(uid("crew", i), id)
}

// remove deletes the agents of some Agents in Calyptia Cloud, a minute later.
func (w team) remove(from, to int) map[int]bool {
	w.clock.Step(time.Minute)
	removed := map[int]bool{}
	for i := from; i < to; i++ {
		w.cloud.Remove(w.recorded[uid("crew", i)])
		removed[i] = true
	}
	return removed
}

// list makes a new list, and returns when it was begun. Without lists that is the time of the checks.
func (w team) list() time.Time {
	w.Helper()
	at := w.clock.Now()
	if w.Result().Lists() {
		w.find("any", at.Add(-1))
	}
	w.clock.Step(time.Second)
	return at
}

// check makes a list, in which the checks of all Agents find their agents, except for those that are missing.
func (w team) check(missing map[int]bool) time.Time {
	w.Helper()
	at := w.list()
	for i := range len(w.recorded) {
		if who := uid("crew", i); !missing[i] {
			w.SeenAt(who, w.recorded[who], at)
		}
	}
	return at
}

// again registers the agent of an Agent again, which is missing since a time.
func (w team) again(i int, since time.Time) {
	w.Helper()
	noError(w, w.Gone(agentOf("crew", i), since))
	w.records(i, w.register(fmt.Sprint("again-", i)))
}

// Eight of sixteen agents are deleted and registered again. Within 15 minutes others are deleted, which existed when the eight were missing:
// two or three of sixteen are missing from the newest snapshot, not ten or more.
func TestAgentsThatWereRegisteredAgainAreNotMissing(t *testing.T) {
	for _, row := range []struct {
		name    string
		noList  bool
		later   int  // are deleted later
		between bool // a list shows all before, and only the CloudProject sees that
	}{{"two", false, 2, false}, {"three", false, 3, false}, {"two, after a list", false, 2, true}, {"two, without lists", true, 2, false}} {
		t.Run(row.name, func(t *testing.T) {
			w := newTeam(t, cloudtest.Settings{NoList: row.noList}, 16)
			first := w.remove(0, 8)
			var since time.Time
			if row.between {
				since = w.list()
			} else {
				since = w.check(first)
			}
			for i := range 8 {
				w.again(i, since)
			}
			if row.between {
				w.clock.Step(time.Minute)
				w.list()
				w.SetRecorded(w.recorded)
			}
			w.clock.Step(8 * time.Minute)
			since = w.check(w.remove(8, 8+row.later))
			for i := range row.later {
				w.SetRecorded(w.recorded) // The status of an Agent may still name a missing agent.
				if err := w.Gone(agentOf("crew", 8+i), since); err != nil {
					t.Errorf("%d of 16 are missing from the newest snapshot: %v; tripped: %v", row.later, err, w.Tripped())
				}
			}
		})
	}
}

// Ten of sixteen are deleted at once. A list that shows nine of them registered again changes nothing.
func TestAgentsThatWereRegisteredAgainCountUntilTheLastIsMissed(t *testing.T) {
	w := newTeam(t, cloudtest.Settings{}, 16)
	missing := w.remove(0, 10)
	since := w.check(missing)
	for i := range 9 {
		w.again(i, since)
		delete(missing, i)
	}
	w.clock.Step(time.Minute)
	w.check(missing)
	w.SetRecorded(w.recorded)
	w.refused(w.Gone(agentOf("crew", 9), since), v1alpha1.ReasonMassDeletionDetected)
}
