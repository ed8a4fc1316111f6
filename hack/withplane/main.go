/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command withplane starts a control plane, runs a command with it, and stops it: `withplane go test ./test/...`.
// The test packages that work in their own namespaces share it; see testenv.SharedVariable.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "withplane:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// run returns the exit code of the command.
func run(args []string) (code int, err error) {
	if len(args) == 0 {
		return 2, errors.New("no command: name one, as in: withplane go test ./test/story")
	}
	// The terminal signals the command, too: it exits first, and the control plane after it.
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	plane, err := start(ctx)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(os.Environ(), testenv.SharedVariable+"="+plane.Kubeconfig)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = command.Run()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return max(failed.ExitCode(), 1), nil
	}
	return 0, err
}

// start starts a control plane that collects garbage less often, unless the environment says how often: collecting is a fifth of the
// work of an API server with thousands of small objects, and serving the tests is most of their work.
func start(ctx context.Context) (*testenv.ControlPlane, error) {
	const variable = "GOGC"
	if _, set := os.LookupEnv(variable); !set {
		if err := os.Setenv(variable, "300"); err != nil {
			return nil, err
		}
		defer func() { _ = os.Unsetenv(variable) }() // The command's programs are tested as users run them.
	}
	return testenv.Start(ctx, testenv.Options{Own: true})
}
