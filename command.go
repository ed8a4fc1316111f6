/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	ctrl "sigs.k8s.io/controller-runtime"

	sets "github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/importer"
	"github.com/calyptia-agent-operator/operator/internal/options"
	"github.com/calyptia-agent-operator/operator/internal/overview"
	"github.com/calyptia-agent-operator/operator/internal/sessionfile"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/internal/version"
)

const (
	program = "calyptia-agent-operator"
	// plugin is the name by which kubectl finds this program: kubectl calyptia.
	plugin  = "kubectl-calyptia"
	docsURL = "https://github.com/calyptia-agent-operator/operator/tree/main/docs"

	exitCodes = "Exit code: 0 after success, 1 after a failure, 2 for a wrong command, flag or value."
	groupUse  = "use"

	// mostErrorText bounds the error that ends the program, in characters: it may repeat what a server or a proxy sent.
	mostErrorText = 4096
)

func main() {
	stdlog.SetOutput(io.Discard) // Net/http quotes there what servers send, such as tokens. The operator sends the rest to its own log.
	name, command := program, newCommand(run)
	if called := strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe"); called == plugin {
		name, command = "kubectl calyptia", newPlugin()
	}
	err := command.ExecuteContext(ctrl.SetupSignalHandler())
	if err == nil {
		return
	}
	code, text := 1, cloud.Clean(err.Error(), mostErrorText)
	if errors.As(err, new(usageError)) {
		code, text = 2, err.Error() // What the caller wrote, and which commands there are, on several lines.
	}
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, text)
	os.Exit(code)
}

// usageError is a wrong flag or value: it ends the operator before anything starts.
type usageError struct{ error }

func usage(err error) error { return usageError{err} }

// newCommand returns the command line; run is called with valid flags.
func newCommand(run func(context.Context, *options.Options) error) *cobra.Command {
	o := &options.Options{}
	command := &cobra.Command{
		Use:   program,
		Short: "Manages Calyptia Cloud agents as Kubernetes resources.",
		Long: "Manages Calyptia Cloud agents as Kubernetes resources. Without a command it runs as the operator.\n\n" +
			exitCodes + "\nDocumentation: " + docsURL,
		Args: func(command *cobra.Command, args []string) error { return unknown(command, args) },
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.Validate(); err != nil {
				return usage(err)
			}
			return run(command.Context(), o)
		},
	}
	o.Bind(command.Flags())
	return withCommands(command)
}

// newPlugin returns the command of the kubectl plugin: without the operator itself.
func newPlugin() *cobra.Command {
	return withCommands(&cobra.Command{
		Use:         plugin,
		Annotations: map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl calyptia"},
		Short:       "Show the Calyptia Cloud agents of a cluster, and write manifests for those that a project already has.",
		Long: "Show the Calyptia Cloud agents of a cluster, and write manifests for those that a project already has.\n\n" +
			exitCodes + "\nDocumentation: " + docsURL,
		Args: func(command *cobra.Command, args []string) error { return unknown(command, args) },
		RunE: func(command *cobra.Command, _ []string) error { return command.Help() },
	})
}

// withCommands adds the commands, and their common settings.
func withCommands(root *cobra.Command) *cobra.Command {
	root.Version = version.String()
	root.SilenceUsage, root.SilenceErrors = true, true
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		do := "see " + command.CommandPath() + " --help"
		if like := similar(command, err); len(like) > 0 {
			do = "did you mean " + strings.Join(like, " or ") + "?"
		}
		return usage(fmt.Errorf("%w: %s", err, do))
	})
	root.AddGroup(&cobra.Group{ID: groupUse, Title: "Commands:"})
	for _, command := range []*cobra.Command{importer.NewCommand(usage, importer.Naming{Agent: sets.AgentName, Slot: sets.Slot}),
		overview.NewCommand(usage), sessionfile.NewCommand(usage, sessionFormat()), versionCommand()} {
		command.GroupID = groupUse
		root.AddCommand(command)
	}
	root.SetUsageTemplate(usageTemplate)
	cobra.AddTemplateFunc("flagGroups", flagGroups)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and date of this build.",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(errors.New("version takes no arguments"))
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(command.OutOrStdout(), version.String())
			return err
		},
	}
}

// unknown returns the error for an unknown command, and suggests a similar one.
func unknown(command *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	do := "see " + command.CommandPath() + " --help"
	if like := command.SuggestionsFor(args[0]); len(like) > 0 {
		do = "did you mean " + strings.Join(like, " or ") + "?"
	}
	return usage(fmt.Errorf("unknown command %q: %s", args[0], do))
}

// similar returns the flags that are similar to an unknown one.
func similar(command *cobra.Command, err error) (like []string) {
	missing := &pflag.NotExistError{}
	if !errors.As(err, &missing) || len(missing.GetSpecifiedName()) < 2 {
		return nil
	}
	command.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && distance(f.Name, missing.GetSpecifiedName()) <= 2 {
			like = append(like, "--"+f.Name)
		}
	})
	return like
}

// distance is the edit distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// sessionFormat is how the operator stores sessions.
func sessionFormat() sessionfile.Format {
	return sessionfile.Format{
		Session: tokensecret.SessionKey, YAML: tokensecret.YAMLKey, Classic: tokensecret.ClassicKey, Slot: sets.Slot,
		Valid: tokensecret.ValidSession,
	}
}
