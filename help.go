/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroup is a part of the help.
type flagGroup struct {
	Title string
	flags *pflag.FlagSet
}

// Text returns the flags as the help shows them.
func (g flagGroup) Text() string { return strings.TrimRight(g.flags.FlagUsages(), "\n") }

// operatorGroups are the flags of the operator by purpose: a name, or a prefix with a dash at its end.
var operatorGroups = []struct {
	title string
	names []string
}{
	{"What it manages", []string{"default-project", "agent-sets", "watch-namespaces", "shard", "cluster-id", "read-only", "kubeconfig"}},
	{"Calyptia Cloud", []string{"allowed-hosts", "allow-insecure-http", "concurrency"}},
	{"Replicas", []string{"leader-elect", "leader-election-"}},
	{"Metrics and probes", []string{"metrics-", "agent-metrics", "health-probe-bind-address"}},
	{"Logs", []string{"zap-"}},
}

// flagGroups returns the flags of a command for its help. Only the operator has so many that they need groups.
func flagGroups(command *cobra.Command) (groups []flagGroup) {
	sets := make([]*pflag.FlagSet, len(operatorGroups)+1)
	for i := range sets {
		sets[i] = pflag.NewFlagSet("", pflag.ContinueOnError)
		sets[i].SortFlags = false
	}
	command.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		at := len(operatorGroups)
		if !command.HasParent() {
			for i, group := range operatorGroups {
				if slices.ContainsFunc(group.names, func(name string) bool {
					return f.Name == name || strings.HasSuffix(name, "-") && strings.HasPrefix(f.Name, name)
				}) {
					at = i
				}
			}
		}
		sets[at].AddFlag(f)
	})
	for i, set := range sets {
		title := "Flags"
		if i < len(operatorGroups) {
			title = operatorGroups[i].title
		} else if len(groups) > 0 {
			title = "Other flags"
		}
		if set.HasFlags() {
			groups = append(groups, flagGroup{title, set})
		}
	}
	return groups
}

// usageTemplate is cobra's own, with the flags in groups.
const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}{{$all := .Commands}}{{range $group := .Groups}}

{{.Title}}{{range $all}}{{if and (eq .GroupID $group.ID) .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

Other commands:{{range $all}}{{if and (eq .GroupID "") (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}{{range flagGroups .}}

{{.Title}}:
{{.Text}}{{end}}{{if .HasAvailableSubCommands}}

Use "{{.CommandPath}} [command] --help" for more about a command.{{end}}
`
