/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/calyptia-agent-operator/operator/internal/options"
	"github.com/calyptia-agent-operator/operator/internal/version"
)

// TestTheCommandLine runs the program under both its names.
func TestTheCommandLine(t *testing.T) {
	for _, row := range []struct {
		name           string
		args           []string // the first is what the program is called by
		code           int
		stdout, stderr string
	}{
		{"the version", []string{program, "version"}, 0, version.Version, ""},
		{"the version by a flag", []string{program, "--version"}, 0, version.Version, ""},
		{"the version of the plugin", []string{plugin, "version"}, 0, version.Version, ""},
		{"a version of something", []string{program, "version", "1"}, 2, "", "version takes no arguments"},
		{"the help", []string{program, "--help"}, 0, docsURL, ""},
		{"the help's exit codes", []string{program, "help"}, 0, exitCodes, ""},
		{"a command with a letter less", []string{program, "imprt"}, 2, "", `unknown command "imprt": did you mean import?`},
		{"a command with a letter more", []string{program, "sttatus"}, 2, "", `unknown command "sttatus": did you mean status?`},
		{"another word", []string{program, "deploy"}, 2, "", `unknown command "deploy": see calyptia-agent-operator --help`},
		{"a flag with a letter less", []string{program, "--allowed-host=x"}, 2, "", "unknown flag: --allowed-host: did you mean --allowed-hosts?"},
		{"a flag of a command", []string{program, "import", "--flet=x"}, 2, "", "unknown flag: --flet: did you mean --fleet?"},
		{"another flag", []string{program, "--colour"}, 2, "", "unknown flag: --colour: see calyptia-agent-operator --help"},
		{"the plugin alone", []string{plugin}, 0, "kubectl calyptia [command]", ""},
		{"the plugin on Windows", []string{plugin + ".exe"}, 0, "kubectl calyptia [command]", ""},
		{"a flag of the operator, to the plugin", []string{plugin, "--leader-elect"}, 2, "", "kubectl calyptia: unknown flag: --leader-elect"},
		{"a wrong command of the plugin", []string{plugin, "stats"}, 2, "", `kubectl calyptia: unknown command "stats": did you mean status?`},
		{"no cluster", []string{plugin, "status", "--kubeconfig=/nowhere"}, 1, "", "kubectl calyptia: no cluster to read: name one with --kubeconfig"},
	} {
		t.Run(row.name, func(t *testing.T) {
			command := exec.CommandContext(t.Context(), os.Args[0])
			command.Args = row.args
			command.Env = append(os.Environ(), asOperator+"=1")
			var stdout, stderr bytes.Buffer
			command.Stdout, command.Stderr = &stdout, &stderr
			if err := command.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
				t.Fatal(err)
			}
			if code := command.ProcessState.ExitCode(); code != row.code || !strings.Contains(stdout.String(), row.stdout) ||
				!strings.Contains(stderr.String(), row.stderr) || (stderr.Len() > 0) != (row.stderr != "") {
				t.Errorf("exit code %d, want %d:\n%s%s", code, row.code, stdout.String(), stderr.String())
			}
		})
	}
}

// Every flag of the operator is in one group of the help, and every group has flags.
func TestEveryFlagHasItsGroup(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	(&options.Options{}).Bind(flags)
	flags.VisitAll(func(f *pflag.Flag) {
		groups := 0
		for _, group := range operatorGroups {
			for _, name := range group.names {
				if f.Name == name || strings.HasSuffix(name, "-") && strings.HasPrefix(f.Name, name) {
					groups++
				}
			}
		}
		if groups != 1 && !f.Hidden {
			t.Errorf("--%s is in %d groups of the help", f.Name, groups)
		}
	})
	for _, group := range operatorGroups {
		for _, name := range group.names {
			known := name == "kubeconfig" // It comes with the client.
			flags.VisitAll(func(f *pflag.Flag) { known = known || strings.HasPrefix(f.Name, name) })
			if !known {
				t.Errorf("the group %q has %s, and there is no such flag", group.title, name)
			}
		}
	}
}
