/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package overview

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// write prints the tables.
func (o *overview) write(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	if len(o.projects) == 0 && len(o.sets) == 0 {
		row(table, "There are no CloudProjects, Agents or AgentSets here.")
		return table.Flush()
	}
	row(table, "CLOUDPROJECT", "READY", "AGENTS", "READY", "STALLED", "REPORTING", "NOT REPORTING", "REASON")
	for _, p := range o.projects {
		row(table, p.name, p.ready, p.agents, p.agentsReady, p.stalled, p.reporting, p.mute, p.reason)
	}
	if len(o.sets) > 0 {
		row(table)
		row(table, "AGENTSET", "READY", "DESIRED", "CURRENT", "READY", "REASON")
		for _, s := range o.sets {
			row(table, s.name, s.ready, s.desired, s.current, s.isReady, s.reason)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(o.troubles) == 0 {
		row(table)
		row(table, "Nothing needs attention.")
		return table.Flush()
	}
	row(table)
	row(table, "NEEDS ATTENTION", "NAME", "PROBLEM", "REASON", "MESSAGE")
	for _, t := range o.troubles {
		row(table, t.kind, t.name, t.problem, t.reason, t.message)
	}
	return table.Flush()
}

// row prints one line. A message may hold what somebody else wrote: nothing in it moves the cursor.
func row(table io.Writer, cells ...any) {
	var texts []string
	for _, cell := range cells {
		text := cloud.Clean(fmt.Sprint(cell), math.MaxInt)
		texts = append(texts, cmp.Or(text, "-"))
	}
	_, _ = fmt.Fprintln(table, strings.Join(texts, "\t")) // Flush gives the error.
}
