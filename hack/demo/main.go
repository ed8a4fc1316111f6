/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command demo shows the operator at work on a throwaway control plane and a fake of Calyptia Cloud, all on loopback.
// It runs the commands that you would type, prints their output, and checks it. Then it keeps running so that you can
// try more; with --once it exits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// interrupted is the exit status of a program that Ctrl-C ended before it was done.
const interrupted = 130

func main() { os.Exit(run()) }

func run() int {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	once := flags.Bool("once", false, "exit after the demo, with status 0 only if all checks passed")
	if err := flags.Parse(os.Args[1:]); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || flags.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "demo: its only flag is --once")
		return 2
	}
	// SIGPIPE, too: if the output is piped into head, everything has to stop and nothing may be left behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	defer stop()
	if err := os.Chdir(testenv.ModuleRoot()); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return perform(ctx, *once)
}

// perform runs the demo on a new stage and closes that, however the demo ended.
func perform(ctx context.Context, once bool) (status int) {
	out := newPrinter(os.Stdout)
	set, err := openStage()
	if err != nil {
		out.failed(err)
		return 1
	}
	defer context.AfterFunc(ctx, func() { out.say("\nStopping and cleaning up ...") })()
	began := time.Now()
	s := &show{printer: out, stage: set}
	shown, left := context.WithCancelCause(ctx)
	defer left(nil)
	s.play(shown, left)
	err = s.err
	switch {
	case ctx.Err() != nil:
		status = interrupted
	case err != nil:
		out.failed(err)
		s.diagnose(ctx)
		out.failed(err) // repeated at the end, where it is seen
		status = 1
	default:
		out.say("\nAll %d checks passed, in %.1f s.", s.checks, time.Since(began).Seconds())
	}
	if !once && ctx.Err() == nil && set.operator.running() {
		s.invite()
		select {
		case <-ctx.Done():
		case <-set.operator.child.Done():
			out.failed(errors.New("the operator exited unexpectedly"))
			set.tail(out)
			status = 1
		}
	}
	if err := set.close(status == 1); err != nil {
		out.failed(fmt.Errorf("cleaning up: %w", err))
		status = max(status, 1)
	}
	return status
}
