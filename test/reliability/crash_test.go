/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import "testing"

// Crash anywhere: the operator stops at each boundary of its story. From then on no request of it reaches the
// API server or the service; then one that remembers nothing starts. What has to come of it stands in the
// tables, by the kind of service.

// crash is a row: where the operator stops, and the end on each kind of service.
type crash struct {
	name    string
	moments []moment
	ends    [len(servers)]cell
}

func at(moments ...moment) []moment { return moments }

// registering has the boundaries of a registration; store is the write of its Secret.
func registering(store request, ends [9][len(servers)]cell) []crash {
	posted, stored := once(postRemote), once(store)
	return []crash{
		{"before the nonce and the finalizer are written", at(before(patchAgent)), ends[0]},
		{"nonce and finalizer are written, the answer is lost", at(after(patchAgent)), ends[1]},
		{"before the registration leaves", at(once(patchAgent), before(postRemote)), ends[2]},
		{"the service registers, the answer is lost", at(after(postRemote)), ends[3]},
		{"the service registers late, long after the operator has gone", at(late(postRemote)), ends[4]},
		{"registered, before the Secret is written", at(posted, before(store)), ends[5]},
		{"the Secret is written, the answer is lost", at(posted, after(store)), ends[6]},
		{"the Secret is written, before the status is", at(posted, stored, before(patchStatus)), ends[7]},
		{"the status is written, the answer is lost", at(posted, stored, after(patchStatus)), ends[8]},
	}
}

// The ends of a registration. Columns: list (unique, doubles, masked), no list (upserts, 409, doubles).
var registered = [9][len(servers)]cell{
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
	{{one, 1}, {one, 1}, {tokenless, 1}, {one, 2}, {stranded, 2}, {two, 2}},
	{{one, 1}, {one, 1}, {tokenless, 1}, {one, 2}, {stranded, 2}, {two, 2}},
	{{one, 1}, {one, 1}, {tokenless, 1}, {one, 2}, {stranded, 2}, {two, 2}},
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
	{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}},
}

// The ends where the Agent is deleted while the operator is away.
var unregistered = [9][len(servers)]cell{
	{{none, 0}, {none, 0}, {none, 0}, {none, 0}, {none, 0}, {none, 0}},
	{{none, 0}, {none, 0}, {none, 0}, {none, 1}, {none, 1}, {none, 1}},
	{{none, 0}, {none, 0}, {none, 0}, {none, 1}, {none, 1}, {none, 1}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {blocked, 2}, {left, 2}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {blocked, 2}, {left, 2}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {blocked, 2}, {left, 2}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}},
	{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}},
}

// play runs the rows on all kinds of service. prepare comes first, act sets off what the operator stops at,
// and meanwhile is done while no operator runs.
func play(t *testing.T, rows []crash, prepare, act, meanwhile func(*scene)) {
	t.Helper()
	t.Parallel()
	for _, row := range rows {
		for i, server := range servers {
			t.Run(row.name+"/"+server.name, func(t *testing.T) {
				s := newScene(t, server.settings)
				prepare(s)
				s.Cloud.ResetRequests()
				s.die(act, row.moments...)
				meanwhile(s)
				s.revive(row.moments[len(row.moments)-1].late)
				s.finish(row.ends[i])
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

// lose removes the remote agent as somebody else would, and asks the operator to look.
func lose(s *scene) {
	s.lost = s.Get("web").Status.ID
	s.Cloud.Remove(s.lost)
	s.Poke("web")
}

func TestCrashWhileRegistering(t *testing.T) {
	play(t, registering(createSecret, registered), nothing, apply, nothing)
}

func TestCrashWhileRegisteringAnew(t *testing.T) {
	play(t, registering(updateSecret, registered), settle, lose, nothing)
}

func TestDeletionOfARegistrationThatACrashLeftOpen(t *testing.T) {
	play(t, registering(createSecret, unregistered), nothing, apply, deleteAgent)
}

func TestDeletionOfARegistrationAnewThatACrashLeftOpen(t *testing.T) {
	play(t, registering(updateSecret, unregistered), settle, lose, deleteAgent)
}
