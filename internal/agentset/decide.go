/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Ownership says whose an Agent is.
type Ownership int

const (
	// Foreign: somebody else's. It is never written.
	Foreign Ownership = iota
	// Adoptable: labeled for the set, and controlled by nobody, or by a former set of the name.
	Adoptable
	// Own: controlled by this very set.
	Own
)

// Agent is what is known of an Agent in the namespace of the set.
type Agent struct {
	Ownership Ownership
	// Deleting: the Agent is being deleted.
	Deleting bool
	// Pending: a write of this process is not in the cache yet.
	Pending bool
	// UpToDate: the Agent has what the template says.
	UpToDate bool
	// Immutable says which field keeps the Agent from being what the template says.
	Immutable string
	// Abridged: the cache has only a part of the Agent's metadata, so that it cannot be written from there.
	Abridged bool
	// Marked: the Agent waits for its removal. RemovalStarted is since when; zero if that cannot be read.
	Marked         bool
	RemovalStarted time.Time

	Ready, Stalled, Reporting bool
	// Why the Agent is not Ready, as its condition says.
	Why string
}

// Key is a node or replica.
type Key struct {
	Name string
	Fit  Fit
}

// Facts are all that a decision about the Agents of a set depends on.
type Facts struct {
	Set  string
	Keys []Key
	// KeysUnknown: the target has more nodes or replicas than are counted. No Agent and no session is removed.
	KeysUnknown bool
	// Agents that are the set's own, or have a name that it needs.
	Agents map[string]Agent
	// Altered says, by the name of an Agent, what the API server stored otherwise than the set just wrote it.
	Altered      map[string]string
	RemovalDelay time.Duration
	Now          time.Time
}

// Conflict is an Agent that the set needs and cannot have.
type Conflict struct {
	Agent, Immutable, Altered string
	Abridged                  bool
}

// Decision is what to do with the Agents of a set. All lists are sorted.
type Decision struct {
	// Desired are the nodes or replicas that need an Agent.
	Desired []string
	// Create has the nodes or replicas that have none.
	Create []string
	// Update, Mark and Delete have the names of Agents: to be brought to the template, adopted or kept after all; whose
	// removal starts; whose removal is due.
	Update, Mark, Delete []string
	Conflicts            []Conflict
	// Next is when the next removal is due; zero for none.
	Next time.Duration
}

// Decide says what to do with the Agents of a set.
func Decide(f Facts) Decision {
	var d Decision
	if f.KeysUnknown {
		return d
	}
	needed := map[string]bool{}
	keys := slices.SortedFunc(slices.Values(f.Keys), func(a, b Key) int { return cmp.Compare(a.Name, b.Name) })
	for _, key := range keys {
		name := AgentName(f.Set, key.Name)
		agent, exists := f.Agents[name]
		if needed[name] || !wants(key.Fit, agent) {
			continue
		}
		needed[name] = true
		d.Desired = append(d.Desired, key.Name)
		switch {
		case agent.Pending || exists && agent.Deleting: // The cache shows soon what comes next.
		case !exists:
			d.Create = append(d.Create, key.Name)
		case agent.Ownership == Foreign:
			d.Conflicts = append(d.Conflicts, Conflict{Agent: name})
		case agent.Immutable != "":
			d.Conflicts = append(d.Conflicts, Conflict{Agent: name, Immutable: agent.Immutable})
		case agent.Ownership == Adoptable || !agent.UpToDate || agent.Marked:
			d.update(name, agent, f.Altered[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Agents)) {
		if agent := f.Agents[name]; agent.Ownership == Own && !agent.Deleting && !agent.Pending && !needed[name] {
			d.remove(f, name, agent)
		}
	}
	return d
}

// update writes an Agent unless that would change nothing.
func (d *Decision) update(name string, agent Agent, altered string) {
	if agent.Abridged || altered != "" {
		d.Conflicts = append(d.Conflicts, Conflict{Agent: name, Altered: altered, Abridged: agent.Abridged})
		return
	}
	d.Update = append(d.Update, name)
}

// wants reports whether a node or replica needs an Agent. A pod that only stays keeps the Agent that it has, also one to adopt, or whose
// removal began: a workload or a set that was missing for a moment is no evidence that the pod is gone.
func wants(fit Fit, agent Agent) bool {
	switch fit {
	case Runs:
		return true
	case Stays:
		return agent.Ownership != Foreign && !agent.Deleting
	default:
		return false
	}
}

// remove decides about an Agent whose node or replica is gone.
func (d *Decision) remove(f Facts, name string, agent Agent) {
	since := f.Now.Sub(agent.RemovalStarted)
	switch {
	case f.RemovalDelay <= 0:
		d.Delete = append(d.Delete, name)
	case agent.RemovalStarted.IsZero() || since < 0: // Somebody wrote a time that the operator did not.
		d.Mark = append(d.Mark, name)
	case since >= f.RemovalDelay:
		d.Delete = append(d.Delete, name)
	default:
		if left := f.RemovalDelay - since; d.Next == 0 || left < d.Next {
			d.Next = left
		}
	}
}

// Claim is a set that names a target.
type Claim struct {
	Name    string
	Created time.Time
}

// Winner is the set that a target belongs to: the oldest, and of two that are equally old the first by name.
func Winner(claims []Claim) string {
	if len(claims) == 0 {
		return ""
	}
	return slices.MinFunc(claims, func(a, b Claim) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Name, b.Name))
	}).Name
}
