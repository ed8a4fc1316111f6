/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"testing"
	"time"
)

// A duplicate with the derived machine ID comes from the registration or from a later one, by a clock that may be behind.
func TestWindow_Follows(t *testing.T) {
	window := Window{Post: 20 * time.Second, Slack: 80 * time.Second}
	intent := Intent{At: noon, First: noon.Add(-time.Minute)}
	for _, row := range []struct {
		name    string
		created time.Duration // after the first attempt
		want    bool
	}{
		{"by the first attempt", 0, true},
		{"long after it", 24 * time.Hour, true},
		{"by a clock that is behind", -79 * time.Second, true},
		{"by a clock that shows whole seconds and is behind", -80 * time.Second, true},
		{"before the registration", -81 * time.Second, false},
		{"long before it", -24 * time.Hour, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := window.Follows(intent, intent.First.Add(row.created)); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

func TestWindow_Covers(t *testing.T) {
	window := Window{Post: 20 * time.Second, Slack: 80 * time.Second}
	first := noon.Add(-time.Hour)
	single, repeated := intentAt(t, noon, time.Time{}, Intent{}), intentAt(t, noon, first, Intent{})
	for _, row := range []struct {
		name    string
		intent  Intent
		created time.Time
		want    bool
	}{
		{"created right after the intent", single, noon.Add(time.Second), true},
		{"created in the same second, by a clock that counts seconds", single, noon.Add(-time.Second), true},
		{"created before the intent", single, noon.Add(-3 * time.Second), false},
		{"created at the end of the window", single, noon.Add(102 * time.Second), true},
		{"created after the window", single, noon.Add(103 * time.Second), false},
		{"created a day later, when an old intent was restored", single, noon.Add(24 * time.Hour), false},
		{"created by an earlier attempt", repeated, noon.Add(-30 * time.Minute), true},
		{"created before the first attempt", repeated, first.Add(-3 * time.Second), false},
		{"an intent without a time", ParseIntent("garbage"), noon, false},
		{"no intent", Intent{}, time.Time{}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := window.Covers(row.intent, row.created); got != row.want {
				t.Errorf("%v, want %v", got, row.want)
			}
		})
	}
}

// Every combination of facts: whoever has no evidence is not entitled, and one fact is enough. A registration is none if the agent
// shows something else.
func TestEvidence_Entitled(t *testing.T) {
	const registered, differs = 8, 16
	for bits := range 32 {
		e := Evidence{
			Derived: bits&1 != 0, MayAdopt: bits&2 != 0, RecordedHere: bits&4 != 0, Registered: bits&registered != 0, Differs: bits&differs != 0,
		}
		if got, want := e.Entitled(), bits != 0 && bits != differs && bits != registered|differs; got != want {
			t.Errorf("%+v: %v, want %v", e, got, want)
		}
	}
}

func TestStanding_Access(t *testing.T) {
	want := map[Standing]Access{
		{}:                      AccessNone,
		{RecordedHere: true}:    AccessOwn,
		{IntentAuthentic: true}: AccessOwn,
		{RecordedHere: true, IntentAuthentic: true}: AccessOwn,
		{Allowed: true}:                                            AccessFull,
		{Allowed: true, RecordedHere: true}:                        AccessFull,
		{Allowed: true, IntentAuthentic: true}:                     AccessFull,
		{Allowed: true, RecordedHere: true, IntentAuthentic: true}: AccessFull,
	}
	if len(want) != 8 {
		t.Fatalf("%d rows, want every combination", len(want))
	}
	for standing, access := range want {
		if got := standing.Access(); got != access {
			t.Errorf("%+v: %d, want %d", standing, got, access)
		}
	}
}
