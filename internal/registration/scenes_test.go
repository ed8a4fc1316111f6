/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"fmt"
	"slices"
	"testing"
)

// scene is one crash in addition to the script of a model: the operator dies right after a step.
type scene struct {
	dies    string // "nothing", "the intent", "Create", "the response" or "the Secret"
	mishap  mishap // of the first request
	deleted bool   // the Agent is deleted while no operator runs
	// deletedAt is the decision before which the Agent is deleted; zero for never.
	deletedAt int
}

// end is what a scene ends in.
type end string

const (
	// one: recorded, one remote agent, its token in the Secret.
	one end = "one"
	// tokenless: as one, but the token was shown to the dead operator alone.
	tokenless end = "tokenless"
	// stranded: the API has one agent and does not reveal its ID.
	stranded end = "stranded"
	// two: as one, and a duplicate that nothing can find remains.
	two end = "two"
	// none: released, no remote agent.
	none end = "none"
	// blocked: the deletion waits for somebody; one remote agent that nothing can find.
	blocked end = "blocked"
	// left: released; one remote agent that nothing can find.
	left end = "left"
)

// cell is an end, and how many requests the API saw until then.
type cell struct {
	end   end
	posts int
}

// kinds of API that the tables have a column for, in this order.
var kinds = [...]struct {
	name  string
	model model
}{
	{"list, unique", model{lists: true, taken: unique}},
	{"list, duplicates", model{lists: true, taken: duplicate}},
	{"list, unique, masked", model{lists: true, taken: unique, masks: true}},
	{"no list, upserts", model{taken: upsert}},
	{"no list, 409", model{taken: unique}},
	{"no list, duplicates", model{taken: duplicate}},
}

var (
	allOne  = [len(kinds)]cell{{one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}, {one, 1}}
	asFound = [len(kinds)]cell{{one, 1}, {one, 1}, {tokenless, 1}, {one, 2}, {stranded, 2}, {two, 2}}

	noneAtAll  = [len(kinds)]cell{{none, 0}, {none, 0}, {none, 0}, {none, 0}, {none, 0}, {none, 0}}
	noneOfOne  = [len(kinds)]cell{{none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}, {none, 1}}
	noneUnsent = [len(kinds)]cell{{none, 0}, {none, 0}, {none, 0}, {none, 1}, {none, 1}, {none, 1}}
	noneFound  = [len(kinds)]cell{{none, 1}, {none, 1}, {none, 1}, {none, 2}, {blocked, 2}, {left, 2}}
)

// crashScenes are the boundaries of a registration, with the results for an Agent that is kept, and for one that is deleted while
// no operator runs. test/reliability plays one scene for each boundary and distinct end on a real control plane.
var crashScenes = []struct {
	boundary   string
	scene      scene
	alive, not [len(kinds)]cell
}{
	{"before the intent and the finalizer are written", scene{dies: "nothing"}, allOne, noneAtAll},
	{"the intent is written, the response is lost", scene{dies: "the intent"}, allOne, noneUnsent},
	{"before the registration is sent", scene{dies: "the intent"}, allOne, noneUnsent},
	{"the API registers, the response is lost", scene{dies: "Create", mishap: lostAfter}, asFound, noneFound},
	{"the API registers late", scene{dies: "Create", mishap: late}, asFound, noneFound},
	{"registered, before the Secret is written", scene{dies: "the response"}, asFound, noneFound},
	{"the Secret is written, the response is lost", scene{dies: "the Secret"}, allOne, noneOfOne},
	{"the Secret is written, before the status is", scene{dies: "the Secret"}, allOne, noneOfOne},
	{"the status is written, the response is lost", scene{dies: "Create"}, allOne, noneOfOne},
}

// eachScene plays every boundary on every kind of API, at the first registration and at one after the agent was
// deleted by somebody, alive and deleted.
func eachScene(table []Row, f func(name string, got, want cell, m *model)) {
	for _, row := range crashScenes {
		for i, kind := range kinds {
			for _, again := range []bool{false, true} {
				for _, deleted := range []bool{false, true} {
					m, want := kind.model, row.alive[i]
					if deleted {
						want = row.not[i]
					}
					m.table, m.named, m.named.deleted = table, row.scene, deleted
					if again { // The status and the Secret still name the agent that was deleted.
						m.next, m.recorded, m.secret, m.token = 1, 1, 1, 1
					}
					name := fmt.Sprintf("%s/%s/again %v/deleted %v", row.boundary, kind.name, again, deleted)
					f(name, m.play(), want, &m)
				}
			}
		}
	}
}

func (m *model) play() cell {
	last, err := m.run()
	found := slices.ContainsFunc(m.agents, func(a remote) bool { return a.id == m.recorded })
	is := end("broken")
	switch n := len(m.agents); {
	case err != nil, m.named.dies != "":
	case last.Kind == Release && n == 0:
		is = none
	case last.Kind == Release && n == 1:
		is = left
	case last.Code == IDUnknown && n == 1 && m.deleting:
		is = blocked
	case last.Code == IDUnknown && n == 1:
		is = stranded
	case last.Kind == Keep && found && n == 1 && m.token == m.recorded:
		is = one
	case last.Kind == Keep && found && n == 1 && m.masks:
		is = tokenless
	case last.Kind == Keep && found && n == 2 && m.token == m.recorded:
		is = two
	}
	return cell{is, m.posts}
}

func TestDecide_CrashAtEachBoundary_EndsAsDocumented(t *testing.T) {
	n := 0
	eachScene(Table, func(name string, got, want cell, m *model) {
		n++
		if got != want {
			t.Errorf("%s: it ends in %v, want %v\n%v", name, got, want, m.trace)
		}
	})
	if n != 216 {
		t.Errorf("%d scenes, want 216", n)
	}
}

// What carries a registration through a crash is in the table: without it, scenes end otherwise.
func TestDecide_CrashScenes_NeedTheirRows(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"the Secret of this registration names an agent", "the Secret of this registration names an agent of ours",
		"in doubt, and no snapshot was begun late enough", "in doubt, and the snapshot names an agent",
		"in doubt, and the agent in the snapshot is ours", "in doubt, before the slack is over",
		"deleting, a snapshot lacks the agent", "the API has the agent and does not reveal its ID",
		"the status records an agent, and nothing is open", "deleting, nothing is open",
	} {
		at := slices.IndexFunc(Table, func(r Row) bool { return r.If == name })
		if at < 0 {
			t.Fatalf("the table has no row %q", name)
		}
		broken := 0
		eachScene(slices.Delete(slices.Clone(Table), at, at+1), func(_ string, got, want cell, _ *model) {
			if got != want {
				broken++
			}
		})
		if broken == 0 {
			t.Errorf("no scene ends otherwise without the row %q", name)
		}
		t.Logf("%d scenes need %q", broken, name)
	}
}

// A deletion before any decision, with every two things that go wrong: nothing is left, or what the end says.
func TestDecide_DeletedAnywhere_NothingIsLeft(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			for at := 1; at <= 24; at++ {
				explore(t, 2, func(script []choice) *model {
					m := kind.model
					m.table, m.script, m.named.deletedAt = Table, script, at
					last, err := m.run()
					if err != nil || !m.deletedAsAllowed(last) {
						t.Fatalf("deleted at %d, %v: %d agents, %d responses lost, ended with %+v\n%v", at, err, len(m.agents), m.lost, last, m.trace)
					}
					return &m
				})
			}
		})
	}
}

func (m *model) deletedAsAllowed(last Action) bool {
	switch {
	case !m.deleting: // It was done before.
		return m.allowed(last)
	case !m.lists && last.Code == IDUnknown:
		return m.taken == unique || m.gateways > 0
	case !m.lists && m.taken == duplicate:
		return last.Kind == Release && len(m.agents) <= m.lost
	default:
		return last.Kind == Release && len(m.agents) == 0
	}
}
