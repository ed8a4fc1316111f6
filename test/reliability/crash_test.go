/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import "testing"

// Crash anywhere: the operator stops at each boundary of its story. From then on no request of it reaches the
// API server or Calyptia Cloud; then an operator with empty caches starts. The tables have the
// expected result for each kind of server.

// All 216 combinations of boundary, kind of service, first or repeated registration, alive or deleted are rows of
// internal/registration/scenes_test.go, where they run against the decision table alone. Here each boundary and each
// distinct end has one scene on a real API server, to check that the shell persists what the table relies on.

// crash is a row: where the operator stops, and the end on some kinds of server.
type crash struct {
	name    string
	moments []moment
	ends    ends
}

// ends are by kind of server.
type ends map[kind]cell

// kind is an index of servers.
type kind int

const (
	listUnique kind = iota
	listDuplicates
	listMasked
	upserts
	conflicts
	duplicates
)

func at(moments ...moment) []moment { return moments }

// registering has the boundaries of a registration; store is the write of its Secret.
func registering(store request, ends [9]ends) []crash {
	posted, stored := once(postRemote), once(store)
	return []crash{
		{"BeforeTheIntentIsWritten", at(before(patchAgent)), ends[0]},
		{"IntentWritten_ResponseLost", at(after(patchAgent)), ends[1]},
		{"BeforeTheRequestIsSent", at(once(patchAgent), before(postRemote)), ends[2]},
		{"Registered_ResponseLost", at(after(postRemote)), ends[3]},
		{"RegisteredLate_AfterTheOperatorDied", at(late(postRemote)), ends[4]},
		{"Registered_BeforeTheSecretIsWritten", at(posted, before(store)), ends[5]},
		{"SecretWritten_ResponseLost", at(posted, after(store)), ends[6]},
		{"SecretWritten_BeforeTheStatusIs", at(posted, stored, before(patchStatus)), ends[7]},
		{"StatusWritten_ResponseLost", at(posted, stored, after(patchStatus)), ends[8]},
	}
}

// play runs the rows. prepare runs first, act triggers the request at which the operator stops, and meanwhile runs while
// no operator runs.
func play(t *testing.T, rows []crash, prepare, act, meanwhile func(*scene)) {
	t.Helper()
	t.Parallel()
	for _, row := range rows {
		for kind, want := range row.ends {
			t.Run(row.name+"/"+servers[kind].name, func(t *testing.T) {
				s := newScene(t, servers[kind].settings)
				prepare(s)
				s.Cloud.ResetRequests()
				s.die(act, row.moments...)
				meanwhile(s)
				s.revive(row.moments[len(row.moments)-1].late)
				s.finish(want)
			})
		}
	}
}

func nothing(*scene) {}

func apply(s *scene) { s.Apply("web") }

func settle(s *scene) {
	s.Apply("web")
	s.Eventually("the Agent is registered", s.one)
}

func deleteAgent(s *scene) { s.Delete("web") }

// lose deletes the remote agent externally and requests a sync.
func lose(s *scene) {
	s.lost = s.Get("web").Status.ID
	s.Cloud.Remove(s.lost)
	s.Poke("web")
}

func TestCrash_Registering_ExactlyOneOrAsDocumented(t *testing.T) {
	play(t, registering(createSecret, [9]ends{
		{listUnique: {one, 1}},
		{upserts: {one, 1}},
		{conflicts: {one, 1}},
		{listUnique: {one, 1}, listMasked: {tokenless, 1}, upserts: {one, 2}, conflicts: {stranded, 2}, duplicates: {two, 2}},
		{listDuplicates: {one, 1}, listMasked: {tokenless, 1}, upserts: {one, 2}, conflicts: {stranded, 2}, duplicates: {two, 2}},
		{listUnique: {one, 1}, listMasked: {tokenless, 1}, upserts: {one, 2}, conflicts: {stranded, 2}, duplicates: {two, 2}},
		{duplicates: {one, 1}},
		{listMasked: {one, 1}},
		{duplicates: {one, 1}},
	}), nothing, apply, nothing)
}

// The status and the Secret still name the deleted agent.
func TestCrash_Reregistering_ExactlyOneOrAsDocumented(t *testing.T) {
	play(t, registering(updateSecret, [9]ends{
		{conflicts: {one, 1}},
		{listDuplicates: {one, 1}},
		{duplicates: {one, 1}},
		{conflicts: {stranded, 2}},
		{duplicates: {two, 2}},
		{listMasked: {tokenless, 1}},
		{listMasked: {one, 1}},
		{conflicts: {one, 1}},
		{listUnique: {one, 1}},
	}), settle, lose, nothing)
}

func TestCrash_RegisteringThenDeleted_NothingIsLeftOrAsDocumented(t *testing.T) {
	play(t, registering(createSecret, [9]ends{
		{listUnique: {none, 0}},
		{listDuplicates: {none, 0}, upserts: {none, 1}},
		{listMasked: {none, 0}, conflicts: {none, 1}},
		{listUnique: {none, 1}, upserts: {none, 2}, conflicts: {blocked, 2}, duplicates: {left, 2}},
		{listDuplicates: {none, 1}, upserts: {none, 2}, conflicts: {blocked, 2}, duplicates: {left, 2}},
		{listMasked: {none, 1}, upserts: {none, 2}, conflicts: {blocked, 2}, duplicates: {left, 2}},
		{duplicates: {none, 1}},
		{listMasked: {none, 1}},
		{conflicts: {none, 1}},
	}), nothing, apply, deleteAgent)
}

func TestCrash_ReregisteringThenDeleted_NothingIsLeftOrAsDocumented(t *testing.T) {
	play(t, registering(updateSecret, [9]ends{
		{duplicates: {none, 0}},
		{conflicts: {none, 1}},
		{listUnique: {none, 0}},
		{duplicates: {left, 2}},
		{listMasked: {none, 1}},
		{conflicts: {blocked, 2}},
		{upserts: {none, 1}},
		{duplicates: {none, 1}},
		{listDuplicates: {none, 1}},
	}), settle, lose, deleteAgent)
}
