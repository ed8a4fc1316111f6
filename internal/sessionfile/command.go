/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package sessionfile is the subcommand that gives a Fluent Bit its session: as an init container it waits for the session
// in a mounted Secret, checks it, and copies it to where Fluent Bit may write it. It reads no cluster.
package sessionfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/clock"
)

const example = `  # The init container of a DaemonSet's pod
  calyptia-agent-operator session --from /sessions --key "$NODE_NAME" --to /var/lib/calyptia --wait 5m

  # That of a single Agent, whose session Secret is mounted at /session
  calyptia-agent-operator session --from /session --to /var/lib/calyptia`

const long = `Waits for the session of an agent in a mounted Secret, checks it, and copies it with mode 0600.

With --key, --from holds the sessions of an AgentSet, and the key is the name of the node or, for a StatefulSet, of the pod.
Without it, --from holds the session of a single Agent. Fluent Bit finds its session in the store path --to, and its
configuration can include calyptia.yaml or calyptia.conf from there.

Exit code: 0 if the session was copied, 1 if it did not come or cannot be used, 2 for a wrong flag or value.`

// options are the flags of the command.
type options struct {
	from, key, to string
	wait          time.Duration
	format        Format
	clock         clock.Clock
}

// Format is how Secrets hold sessions.
type Format struct {
	// Session, YAML and Classic are the keys of a Secret with one session: the session itself, and the sections of Fluent
	// Bit's configuration.
	Session, YAML, Classic string
	// Slot is what a Secret with many sessions calls a node or replica: each key begins with it and a dot.
	Slot func(key string) string
	// Valid reports whether a session can be used.
	Valid func(session []byte) bool
}

// NewCommand is the subcommand. usage marks an error as a wrong flag or value.
func NewCommand(usage func(error) error, format Format) *cobra.Command {
	return newCommand(&options{format: format, clock: clock.RealClock{}}, usage)
}

func newCommand(o *options, usage func(error) error) *cobra.Command {
	command := &cobra.Command{
		Use:     "session",
		Short:   "Copy the session of an agent to where its Fluent Bit needs it.",
		Long:    long,
		Example: example,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage(fmt.Errorf("unexpected argument %q: see session --help", args[0]))
			}
			return nil
		},
		RunE: func(command *cobra.Command, _ []string) error {
			if err := o.validate(command.Flags().Changed("key")); err != nil {
				return usage(err)
			}
			return o.run(command.Context(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&o.from, "from", "", "Directory where the Secret is mounted.")
	flags.StringVar(&o.key, "key", "", "Name of the node or pod. Default: --from holds the session of a single Agent.")
	flags.StringVar(&o.to, "to", "/var/lib/calyptia", "Store path of Fluent Bit.")
	flags.DurationVar(&o.wait, "wait", 5*time.Minute, "How long to wait for the session.")
	return command
}

func (o *options) validate(withKey bool) error {
	switch {
	case o.from == "" || !filepath.IsAbs(o.from):
		return fmt.Errorf("--from %q: must be the absolute path where the Secret is mounted", o.from)
	case !filepath.IsAbs(o.to):
		return fmt.Errorf("--to %q: must be an absolute path", o.to)
	case withKey && o.key == "":
		return errors.New("--key is empty: set it to the name of the node or pod, such as $(NODE_NAME)")
	case strings.ContainsFunc(o.key, forbidden) || strings.HasPrefix(o.key, "."):
		return fmt.Errorf("--key %q: must be the name of a node or pod; is the variable of the environment set?", o.key)
	case o.wait < 0:
		return fmt.Errorf("--wait %s: must not be negative", o.wait)
	}
	return nil
}

// forbidden reports what no name of a node or pod has. Above all, the key must not lead out of the directory.
func forbidden(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
}
