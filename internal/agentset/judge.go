/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"fmt"
	"slices"
	"strings"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

// Counts are the numbers of a set's Agents, as its status shows them.
type Counts struct {
	Desired, Current, UpToDate, Ready, Reporting, Stalled int
	// FirstNotReady and FirstStalled name an Agent each, with its reason.
	FirstNotReady, FirstStalled string
	// Silent are the nodes or replicas whose agents do not report.
	Silent []string
}

// Count counts the Agents of a set.
func Count(f Facts, d Decision) Counts {
	c := Counts{Desired: len(d.Desired)}
	for _, agent := range f.Agents {
		if agent.Ownership == Own {
			c.Current++
		}
	}
	for _, key := range d.Desired {
		name := AgentName(f.Set, key)
		agent := f.Agents[name]
		own := agent.Ownership == Own && !agent.Deleting
		if own && agent.UpToDate {
			c.UpToDate++
		}
		switch {
		case own && agent.Ready:
			c.Ready++
		case own && agent.Stalled:
			c.Stalled++
			first(&c.FirstStalled, name, agent.Why)
			first(&c.FirstNotReady, name, agent.Why)
		default:
			first(&c.FirstNotReady, name, agent.Why)
		}
		if own && agent.Reporting {
			c.Reporting++
		} else {
			c.Silent = append(c.Silent, key)
		}
	}
	return c
}

func first(to *string, name, why string) {
	if *to == "" {
		*to = strings.TrimSuffix(name+": "+why, ": ")
	}
}

// Judge is what keeps a set from being Ready, as far as its Agents and sessions are concerned; nil for nothing. stored is
// the number of sessions that are in their Secrets.
func Judge(c Counts, d Decision, plan Plan, stored int) *fault.Error {
	switch {
	case len(d.Conflicts) > 0:
		return conflict(d.Conflicts)
	case len(plan.Excess) > 0:
		return tooLarge(plan)
	case c.Stalled > 0 && c.Ready+c.Stalled == c.Desired:
		return fault.Terminalf(v1alpha1.ReasonAgentsNotReady, "%d of %d Agents are Stalled: fix what their conditions say, first %s",
			c.Stalled, c.Desired, c.FirstStalled)
	case c.UpToDate < c.Desired:
		return fault.Waitingf(v1alpha1.ReasonProgressing, "%d of %d Agents have the current template", c.UpToDate, c.Desired)
	case c.Ready < c.Desired:
		return fault.Waitingf(v1alpha1.ReasonAgentsNotReady, "%d of %d Agents are Ready; not yet %s", c.Ready, c.Desired, c.FirstNotReady)
	case stored < c.Desired:
		return fault.Waitingf(v1alpha1.ReasonProgressing, "%d of %d sessions are stored", stored, c.Desired)
	}
	return nil
}

func conflict(conflicts []Conflict) *fault.Error {
	first := conflicts[0]
	more := ""
	if len(conflicts) > 1 {
		more = fmt.Sprintf(" (and %d more)", len(conflicts)-1)
	}
	if first.Abridged {
		return fault.Terminalf(v1alpha1.ReasonAgentConflict,
			"Agent %q has more labels, annotations, finalizers or owners than the operator keeps%s: remove some", first.Agent, more)
	}
	if first.Altered != "" {
		return fault.Terminalf(v1alpha1.ReasonAgentConflict,
			"the API server stores Agent %q with another %s than this AgentSet writes%s: correct the policy or webhook that changes it",
			first.Agent, first.Altered, more)
	}
	if first.Immutable != "" {
		return fault.Terminalf(v1alpha1.ReasonAgentConflict,
			"Agent %q has another %s than the template, which is immutable%s: delete the Agent", first.Agent, first.Immutable, more)
	}
	return fault.Terminalf(v1alpha1.ReasonAgentConflict,
		"Agent %q exists and is not this AgentSet's%s: delete it, label it %s, or rename the AgentSet", first.Agent, more, v1alpha1.LabelAgentSet)
}

func tooLarge(plan Plan) *fault.Error {
	if plan.Needed == 0 {
		return fault.Terminalf(v1alpha1.ReasonSessionsTooLarge, "%d sessions do not fit into %d Secrets: split the AgentSet",
			len(plan.Excess), MaxShards)
	}
	return fault.Terminalf(v1alpha1.ReasonSessionsTooLarge,
		"%d sessions do not fit into the Secrets: set spec.sessions.shards to %d, and mount as many Secrets", len(plan.Excess), plan.Needed)
}

// Names lists some of many names in one line.
func Names(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(slices.Clone(names[:most]), ", "), len(names)-most)
}
