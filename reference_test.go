/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

var update = flag.Bool("update", false, "write docs/reference/flags.md")

// `make docs` writes the page, and this test fails if it does not match the flags.
func TestThePageOfTheFlagsIsUpToDate(t *testing.T) {
	path := filepath.Join("docs", "reference", "flags.md")
	page := []byte("# Command line\n\nWritten by `make docs` from the command itself.\n" + reference(newCommand(nil)))
	if *update {
		if err := os.WriteFile(path, page, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(page), string(got)); diff != "" {
		t.Errorf("%s is out of date, run `make docs` (-want +got):\n%s", path, diff)
	}
}

// reference is the section of a command and of those below it.
func reference(command *cobra.Command) string {
	var page strings.Builder
	about := command.Long
	if about == "" {
		about = command.Short
	}
	fmt.Fprintf(&page, "\n## %s\n\n%s\n\n    %s\n", command.CommandPath(), strings.TrimSpace(about), command.UseLine())
	if command.Example != "" {
		fmt.Fprintf(&page, "\nFor example:\n\n%s\n", indented(command.Example))
	}
	page.WriteString("\n| flag | default | what it does |\n| --- | --- | --- |\n")
	command.NonInheritedFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" || f.Name == "version" {
			return
		}
		kind, usage := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if kind != "" {
			name += " " + kind
		}
		fmt.Fprintf(&page, "| `%s` | %s | %s |\n", name, standard(f), cell(usage))
	})
	for _, below := range command.Commands() {
		if below.IsAvailableCommand() && below.Name() != "completion" {
			page.WriteString(reference(below))
		}
	}
	return page.String()
}

// standard returns the default of a flag, if it has one.
func standard(f *pflag.Flag) string {
	value := strings.TrimSuffix(strings.TrimPrefix(f.DefValue, "["), "]")
	if value == "" || value == "0s" {
		return ""
	}
	return "`" + value + "`"
}

func cell(text string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "<", "&lt;").Replace(strings.TrimSpace(text))
}

func indented(text string) string {
	return "    " + strings.ReplaceAll(strings.Trim(text, "\n"), "\n", "\n    ")
}
