/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package plan

import (
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

const now, before, other = "hash of now", "hash of before", "hash of another's"

func one(remote Remote) []Field { return []Field{{Name: "version", Hash: now, Remote: remote}} }

func version(hash string) map[string]string { return map[string]string{"version": hash} }

func TestDecide(t *testing.T) {
	applied, unapplied := State{Applied: version(now)}, State{Applied: version(before)}
	sends := Changes{Step: Send, Fields: []string{"version"}}
	for _, row := range []struct {
		name string
		in   Input
		want Changes
	}{
		{"changed in the spec, not read: sent without a read", Input{Fields: one(NotRead), State: unapplied}, sends},
		{"changed in the spec, and the remote agent is so already", Input{Fields: one(Same), State: unapplied}, Changes{}},
		{"changed in the spec, and different", Input{Fields: one(Different), State: unapplied}, sends},
		{"changed in the spec, and not shown", Input{Fields: one(NotShown), State: unapplied}, sends},
		{"applied, not read", Input{Fields: one(NotRead), State: applied}, Changes{}},
		{"applied, and not shown", Input{Fields: one(NotShown), State: applied}, Changes{}},
		{"drift is reverted", Input{Fields: one(Different), State: applied}, Changes{Step: Send, Fields: []string{"version"}, Reverts: true}},
		{"drift with OnChange stays", Input{Policy: v1alpha1.SyncOnChange, Fields: one(Different), State: applied}, Changes{}},
		{"a change with OnChange is sent", Input{Policy: v1alpha1.SyncOnChange, Fields: one(Different), State: unapplied}, sends},
		{"Observe sends nothing", Input{Policy: v1alpha1.SyncObserve, Fields: one(Different), State: unapplied}, Changes{}},
		{"an ignored field is not sent again", Input{Fields: one(Different), State: State{Applied: version(now), Ignored: []string{"version"}}}, Changes{}},
		{"an ignored field that changes in the spec is", Input{Fields: one(Different), State: State{Applied: version(before), Ignored: []string{"version"}}}, sends},
		{"read-only", Input{ReadOnly: true, Fields: one(Different), State: unapplied}, Changes{Step: Blocked, Fields: []string{"version"}}},
		{"sent and not read since", Input{Fields: one(NotRead), State: State{Applied: version(before), Pending: Pending{Sent: version(now)}}}, Changes{Step: Unconfirmed}},
		{"sent, and a snapshot shows it", Input{Fields: one(NotRead), Listed: true, State: State{Applied: version(before), Pending: Pending{Sent: version(now)}}}, Changes{}},
		{"sent, and changed in the spec since", Input{Fields: one(NotRead), State: State{Pending: Pending{Sent: version(before)}}}, sends},
		{"read back otherwise, perhaps by another's doing", Input{Fields: one(Different), State: State{Applied: version(now), Pending: Pending{Confirm: version(now)}}},
			Changes{Step: Send, Fields: []string{"version"}, Reverts: true, Repeats: true}},
		{"found different, and delayed by the rate limit", Input{Fields: one(NotRead), State: State{Applied: version(now), Pending: Pending{Delayed: []string{"version"}}}},
			Changes{Step: Send, Fields: []string{"version"}, Reverts: true}},
		{"a third round", Input{Fields: one(Different), State: applied, Round: MostRounds}, Changes{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if row.in.Policy == "" {
				row.in.Policy = v1alpha1.SyncEnforce
			}
			if diff := cmp.Diff(row.want, Decide(row.in)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestReadBack(t *testing.T) {
	ignored := []string{"version"}
	sent := func(changes ...func(*State)) State {
		s := State{Applied: version(before), Pending: Pending{Sent: version(now)}}
		for _, change := range changes {
			change(&s)
		}
		return s
	}
	again := func(s *State) { s.Confirm = version(now) }
	for _, row := range []struct {
		name   string
		state  State
		remote Remote
		want   State
	}{
		{"it is as it was sent", sent(), Same, State{Applied: version(now)}},
		{"the API does not show it", sent(), NotShown, State{Applied: version(now)}},
		{"another writer may have changed it", sent(), Different, State{Applied: version(now), Pending: Pending{Confirm: version(now)}}},
		{"for the second time: the API ignores it", sent(again), Different, State{Applied: version(now), Ignored: ignored}},
		{"what was not sent is no finding", State{Applied: version(now)}, Different, State{Applied: version(now)}},
		{"ignored, and it still is", State{Applied: version(now), Ignored: ignored}, Different, State{Applied: version(now), Ignored: ignored}},
		{"ignored, and now it is as declared", State{Applied: version(now), Ignored: ignored}, Same, State{Applied: version(now)}},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := row.state.ReadBack(one(row.remote))
			if len(got.Confirm) == 0 {
				got.Confirm = nil
			}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

var policies = []v1alpha1.SyncPolicy{v1alpha1.SyncEnforce, v1alpha1.SyncOnChange, v1alpha1.SyncObserve}

// inputs are all that Decide can be asked about one field.
func inputs(visit func(Input)) {
	none := map[string]string(nil)
	yes, no := []string{"version"}, []string(nil)
	for _, policy := range policies {
		for _, readOnly := range []bool{false, true} {
			for remote := range remotes {
				for _, applied := range []map[string]string{none, version(before), version(now)} {
					for _, sent := range []map[string]string{none, version(before), version(now)} {
						for _, confirm := range []map[string]string{none, version(before), version(now)} {
							for _, ignored := range [][]string{no, yes} {
								for _, delayed := range [][]string{no, yes} {
									for i := range 2 * (MostRounds + 1) {
										visit(Input{
											Policy: policy, ReadOnly: readOnly, Fields: one(remote), Listed: i&1 > 0, Round: i >> 1,
											State: State{Applied: applied, Ignored: ignored, Pending: Pending{
												Sent: sent, Confirm: confirm, Delayed: delayed,
											}},
										})
									}
								}
							}
						}
					}
				}
			}
		}
	}
}

// Each invariant holds for each input.
func TestDecide_EveryInput(t *testing.T) {
	count := 0
	inputs(func(in Input) {
		count++
		kept := fmt.Sprintf("%+v", in)
		c := Decide(in)
		s, f := in.State, in.Fields[0]
		changed := len(s.Unapplied(in.Fields)) > 0
		accepted := s.Sent["version"] == now
		for _, invariant := range []struct {
			name  string
			holds bool
		}{
			{"the same input gives the same decision", reflect.DeepEqual(c, Decide(in))},
			{"the input is left as it was", fmt.Sprintf("%+v", in) == kept},
			{"Observe sends nothing", in.Policy != v1alpha1.SyncObserve || c.Step != Send && c.Step != Blocked},
			{"a read-only operator sends nothing", !in.ReadOnly || c.Step != Send},
			{"a check sends no more than two updates", in.Round < MostRounds || c.Step != Send},
			{"what is as declared is not sent", f.Remote != Same || len(c.Fields) == 0},
			{"nothing is sent twice for want of a read", f.Remote != NotRead || !accepted || len(c.Fields) == 0 || len(s.Delayed) > 0},
			{"what was sent and not confirmed is not done", f.Remote != NotRead || in.Listed || !accepted || c.Step != Done},
			{"OnChange does not revert drift", in.Policy != v1alpha1.SyncOnChange || f.Remote != Different || changed || s.confirms(f) || len(c.Fields) == 0},
			{"an ignored field is not sent again", f.Remote != Different || len(s.Ignored) == 0 || changed || s.confirms(f) || len(c.Fields) == 0},
			{"drift is reverted", in.Policy != v1alpha1.SyncEnforce || f.Remote != Different || len(s.Ignored) > 0 || in.Round == MostRounds || len(c.Fields) == 1},
			{"a change is sent", in.Policy == v1alpha1.SyncObserve || !changed || f.Remote == Same || in.Round == MostRounds || len(c.Fields) == 1},
			{"a change is no reversion", !c.Reverts || !changed},
			{"a step that sends has fields, and others have none", (c.Step == Send || c.Step == Blocked) == (len(c.Fields) > 0)},
		} {
			if !invariant.holds {
				t.Fatalf("%s: %+v of %s", invariant.name, c, kept)
			}
		}
	})
	if count < 10000 {
		t.Errorf("only %d inputs", count)
	}
}

// server holds one field. writes is how often another writer changes it back after an update.
type server struct {
	value   string
	ignores bool
	writes  int
	patches int
}

func (s *server) patch() {
	s.patches++
	switch {
	case s.ignores:
	case s.writes > 0:
		s.writes--
		s.value = other
	default:
		s.value = now
	}
}

func (s *server) read() []Field {
	if s.value == now {
		return one(Same)
	}
	return one(Different)
}

// check is one check as the controller makes it: spare says that the rate limit allows the read after an update.
func (s *server) check(t *testing.T, in Input, spare bool) (State, bool) {
	in.Fields = s.read()
	in.State = in.State.ReadBack(in.Fields)
	for in.Round = 0; ; in.Round++ {
		c := Decide(in)
		switch c.Step {
		case Send:
			s.patch()
			in.State = in.State.Accepted(in.Fields, c)
			in.Fields = one(NotRead)
			if spare {
				in.Fields = s.read()
				in.State = in.State.ReadBack(in.Fields)
			}
		case Unconfirmed:
			return in.State, false
		case Done:
			return in.Applied(), true
		default:
			t.Fatalf("%+v", c)
		}
		if in.Round > MostRounds {
			t.Fatalf("round %d", in.Round)
		}
	}
}

// What comes of it, with each kind of server: it ends, and with as few updates as there can be.
func TestChecks_EveryServer_End(t *testing.T) {
	for _, policy := range policies {
		for i := range 1 << 4 {
			drifts, ignores, spare, changed := i&1 > 0, i&2 > 0, i&4 > 0, i&8 > 0
			for writes := range 4 {
				name := fmt.Sprintf("%s drifts=%v ignores=%v spare=%v changed=%v writes=%d", policy, drifts, ignores, spare, changed, writes)
				t.Run(name, func(t *testing.T) {
					s := &server{value: now, ignores: ignores, writes: writes}
					if drifts || changed {
						s.value = other
					}
					state := State{Applied: version(now)}
					if changed {
						state.Applied = version(before)
					}
					in := Input{Policy: policy}
					for range 6 {
						in.State = state
						state, _ = s.check(t, in, spare)
					}
					patches := s.patches
					in.State = state
					state, done := s.check(t, in, spare)
					if !done {
						t.Fatalf("it never ends: %+v", state)
					}
					if s.patches != patches {
						t.Errorf("it is sent again and again: %d updates", s.patches)
					}
					differs := s.value != now
					sends := policy == v1alpha1.SyncEnforce && (drifts || changed) || policy == v1alpha1.SyncOnChange && changed
					switch {
					case !sends && s.patches > 0:
						t.Errorf("%d updates", s.patches)
					case sends && !ignores && writes < MostRounds && (s.patches != 1+writes || differs):
						t.Errorf("%d updates, and it is %q", s.patches, s.value)
					case sends && ignores && (s.patches > 2 || !slices.Contains(state.Ignored, "version")):
						t.Errorf("%d updates, ignored: %v", s.patches, state.Ignored)
					case sends && state.Applied["version"] != now:
						t.Errorf("applied: %v", state.Applied)
					}
				})
			}
		}
	}
}
