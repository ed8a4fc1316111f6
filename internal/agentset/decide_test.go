/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func facts(fit Fit, agent *Agent) Facts {
	f := Facts{Set: "logs", RemovalDelay: 10 * time.Minute, Now: noon, Agents: map[string]Agent{}}
	if fit != No {
		f.Keys = []Key{{Name: "a", Fit: fit}}
	}
	if agent != nil {
		f.Agents["logs-a"] = *agent
	}
	return f
}

func alteredFacts(agent *Agent) Facts {
	f := facts(Runs, agent)
	f.Altered = map[string]string{"logs-a": "spec"}
	return f
}

func TestDecide(t *testing.T) {
	own := func(change ...func(*Agent)) *Agent {
		a := &Agent{Ownership: Own, UpToDate: true}
		for _, c := range change {
			c(a)
		}
		return a
	}
	since := func(d time.Duration) func(*Agent) {
		return func(a *Agent) { a.Marked, a.RemovalStarted = true, noon.Add(-d) }
	}
	deleting := func(a *Agent) { a.Deleting = true }
	pending := func(a *Agent) { a.Pending = true }
	outdated := func(a *Agent) { a.UpToDate = false }
	abridged := func(a *Agent) { a.Abridged = true }
	desired, agent := []string{"a"}, []string{"logs-a"}
	for _, row := range []struct {
		name  string
		facts Facts
		want  Decision
	}{
		{"a new node", facts(Runs, nil), Decision{Desired: desired, Create: desired}},
		{"a node that takes no new pods has no pod", facts(Stays, nil), Decision{}},
		{"no node", facts(No, nil), Decision{}},
		{"the nodes are unknown", Facts{Set: "logs", KeysUnknown: true, Agents: map[string]Agent{"logs-a": *own()}, Now: noon}, Decision{}},
		{"all is well", facts(Runs, own()), Decision{Desired: desired}},
		{"a pod that only stays keeps its Agent", facts(Stays, own()), Decision{Desired: desired}},
		{"the template changed", facts(Runs, own(outdated)), Decision{Desired: desired, Update: agent}},
		{"the template changed, and the write is not in the cache", facts(Runs, own(outdated, pending)), Decision{Desired: desired}},
		{"an Agent that was created is not in the cache", facts(Runs, &Agent{Ownership: Own, Pending: true}), Decision{Desired: desired}},
		{"somebody deletes the Agent", facts(Runs, own(deleting)), Decision{Desired: desired}},
		{"somebody else's Agent has the name", facts(Runs, &Agent{}), Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a"}}}},
		{"somebody else's Agent has the name, and goes", facts(Runs, &Agent{Deleting: true}), Decision{Desired: desired}},
		{"an Agent that is labeled for the set", facts(Runs, &Agent{Ownership: Adoptable}), Decision{Desired: desired, Update: agent}},
		{"an Agent with another type", facts(Runs, &Agent{Ownership: Adoptable, Immutable: "type"}),
			Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a", Immutable: "type"}}}},
		{"an Agent that the cache has a part of", facts(Runs, own(abridged)), Decision{Desired: desired}},
		{"the template changed, and the cache has a part of the Agent", facts(Runs, own(outdated, abridged)),
			Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a", Abridged: true}}}},
		{"an Agent that is labeled for the set, and that the cache has a part of", facts(Runs, &Agent{Ownership: Adoptable, Abridged: true}),
			Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a", Abridged: true}}}},
		{"the API server stored something else than the template", alteredFacts(own(outdated)),
			Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a", Altered: "spec"}}}},
		{"the API server keeps the mark of a removal", alteredFacts(own(since(time.Minute))),
			Decision{Desired: desired, Conflicts: []Conflict{{Agent: "logs-a", Altered: "spec"}}}},
		{"the API server stored something else, and it is right by now", alteredFacts(own()), Decision{Desired: desired}},
		{"the API server stored something else, and the next write is not in the cache", alteredFacts(own(outdated, pending)),
			Decision{Desired: desired}},
		{"the node is gone, and the cache has a part of the Agent", facts(No, own(abridged, since(time.Hour))), Decision{Delete: agent}},

		{"the node is gone", facts(No, own()), Decision{Mark: agent}},
		{"the node is gone for a while", facts(No, own(since(4*time.Minute))), Decision{Next: 6 * time.Minute}},
		{"the node is gone for the delay", facts(No, own(since(10*time.Minute))), Decision{Delete: agent}},
		{"the node is gone for long", facts(No, own(since(time.Hour))), Decision{Delete: agent}},
		{"the removal began in the future", facts(No, own(since(-time.Hour))), Decision{Mark: agent}},
		{"the removal began at no time", facts(No, own(func(a *Agent) { a.Marked = true })), Decision{Mark: agent}},
		{"the node is back in time", facts(Runs, own(since(time.Minute))), Decision{Desired: desired, Update: agent}},
		{"the node is back late, and the Agent is there still", facts(Runs, own(since(time.Hour))), Decision{Desired: desired, Update: agent}},
		{"the node is back, and takes no new pods", facts(Stays, own(since(4*time.Minute))), Decision{Desired: desired, Update: agent}},
		{"the node is gone, and the Agent goes", facts(No, own(deleting)), Decision{}},
		{"the node is gone, and a write is not in the cache", facts(No, own(pending)), Decision{}},
		{"an Agent that is labeled for the set, and is not needed", facts(No, &Agent{Ownership: Adoptable}), Decision{}},
		{"somebody else's Agent, which is not needed", facts(No, &Agent{}), Decision{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if diff := cmp.Diff(row.want, Decide(row.facts), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestNoDelayDeletesAtOnce(t *testing.T) {
	f := facts(No, &Agent{Ownership: Own, UpToDate: true})
	f.RemovalDelay = 0
	if diff := cmp.Diff(Decision{Delete: []string{"logs-a"}}, Decide(f), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Every combination of facts about one node and its Agent keeps these promises.
func TestDecideKeepsItsPromises(t *testing.T) {
	checked := 0
	for _, f := range everyFact() {
		d := Decide(f)
		agent, exists := f.Agents["logs-a"]
		at := fmt.Sprintf("%+v -> %+v", f, d)
		writes := len(d.Create) + len(d.Update) + len(d.Mark) + len(d.Delete)
		switch {
		case writes > 1:
			t.Errorf("one Agent is written twice: %s", at)
		case len(d.Create) > 0 && exists:
			t.Errorf("an Agent that exists is created: %s", at)
		case len(d.Mark)+len(d.Delete) > 0 && agent.Ownership != Own:
			t.Errorf("an Agent that is not the set's own is removed: %s", at)
		case len(d.Update) > 0 && agent.Ownership == Foreign:
			t.Errorf("an Agent of somebody else is written: %s", at)
		case writes > 0 && exists && (agent.Deleting || agent.Pending):
			t.Errorf("an Agent is written twice: %s", at)
		case len(d.Delete) > 0 && len(d.Desired) > 0:
			t.Errorf("an Agent that is needed is deleted: %s", at)
		case len(d.Delete) > 0 && f.RemovalDelay > 0 && (!agent.Marked || f.Now.Sub(agent.RemovalStarted) < f.RemovalDelay):
			t.Errorf("an Agent is deleted before its delay is over: %s", at)
		case len(f.Keys) > 0 && f.Keys[0].Fit == Runs && len(d.Desired) != 1:
			t.Errorf("a node with a pod is left out: %s", at)
		case exists && agent.Ownership == Own && !agent.Deleting && !agent.Pending && len(d.Desired) == 0 && writes == 0 && d.Next <= 0:
			t.Errorf("an Agent that is not needed is forgotten: %s", at)
		}
		if diff := cmp.Diff(d, Decide(f)); diff != "" {
			t.Errorf("the decision is another one the second time: %s", diff)
		}
		checked++
	}
	if checked < 1000 {
		t.Errorf("only %d combinations", checked)
	}
}

func everyFact() (all []Facts) {
	bools := []bool{false, true}
	for _, fit := range []Fit{No, Stays, Runs} {
		for _, delay := range []time.Duration{0, 10 * time.Minute} {
			f := facts(fit, nil)
			f.RemovalDelay = delay
			all = append(all, f)
			for _, ownership := range []Ownership{Foreign, Adoptable, Own} {
				for _, immutable := range []string{"", "type"} {
					for _, started := range []time.Duration{-1, 0, time.Minute, time.Hour, -time.Hour} {
						for i := range 16 {
							agent := Agent{Ownership: ownership, Immutable: immutable,
								Deleting: bools[i&1], Pending: bools[i>>1&1], UpToDate: bools[i>>2&1], Marked: bools[i>>3&1]}
							if agent.Marked && started != -1 {
								agent.RemovalStarted = noon.Add(-started)
							}
							f := facts(fit, &agent)
							f.RemovalDelay = delay
							all = append(all, f)
						}
					}
				}
			}
		}
	}
	return all
}

func TestTheNextRemovalIsTheEarliest(t *testing.T) {
	f := Facts{Set: "logs", RemovalDelay: 10 * time.Minute, Now: noon, Agents: map[string]Agent{}}
	for name, since := range map[string]time.Duration{"logs-a": 2 * time.Minute, "logs-b": 7 * time.Minute, "logs-c": time.Minute} {
		f.Agents[name] = Agent{Ownership: Own, UpToDate: true, Marked: true, RemovalStarted: noon.Add(-since)}
	}
	if got := Decide(f).Next; got != 3*time.Minute {
		t.Errorf("the next removal is in %s, want 3m", got)
	}
}

func TestTheOldestSetHasTheTarget(t *testing.T) {
	old, young := noon, noon.Add(time.Second)
	for _, row := range []struct {
		name   string
		claims []Claim
		want   string
	}{
		{"nobody", nil, ""},
		{"one", []Claim{{"a", young}}, "a"},
		{"the older", []Claim{{"a", young}, {"b", old}}, "b"},
		{"the older, in the other order", []Claim{{"b", old}, {"a", young}}, "b"},
		{"two of one second", []Claim{{"b", old}, {"a", old}}, "a"},
	} {
		if got := Winner(row.claims); got != row.want {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// A workload, or a set, that is missing for a moment ends no Agent of a pod that stays on a node which starts no new ones.
func TestDecide_PodThatStays_KeepsItsAgent(t *testing.T) {
	for name, agent := range map[string]Agent{
		"its own": {Ownership: Own, UpToDate: true}, "to adopt": {Ownership: Adoptable},
		"its removal began": {Ownership: Own, Marked: true, RemovalStarted: noon.Add(-time.Hour)},
	} {
		if got := Decide(facts(Stays, &agent)); len(got.Delete)+len(got.Mark) > 0 || len(got.Desired) != 1 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, agent := range map[string]*Agent{"none": nil, "another's": {}} {
		if got := Decide(facts(Stays, agent)); len(got.Create)+len(got.Desired) > 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
