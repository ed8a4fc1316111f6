/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command bench measures the operator: its real binary, against a real control plane and a fake of Calyptia Cloud in
// a separate process, and the floor: a bare client that does the least possible work. Rates are only meaningful as ratios to
// the floor of the same run; calls and writes are exact.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == cloudCommand {
		fmt.Fprintln(os.Stderr, "bench:", serveCloud(os.Stdout))
		os.Exit(1)
	}
	ctrllog.SetLogger(logr.Discard())
	o, err := parse(os.Args[1:], os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err = o.run(ctx, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run runs all cells and writes the results after each of them.
func (o *options) run(ctx context.Context, out io.Writer) error {
	if err := os.Chdir(testenv.ModuleRoot()); err != nil {
		return err
	}
	var all []*result
	for range o.repeat {
		for _, n := range o.ns {
			for _, latency := range o.latencies {
				for _, rate := range o.rates {
					c := cell{N: n, Latency: latency, RateLimit: rate}
					results, err := o.runCell(ctx, c)
					all = append(all, results...)
					err = errors.Join(err, table(out, c, results), writeJSON(o.json, all), writeBenchstat(o.benchstat, all))
					if err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// runCell runs one cell on its own control plane.
func (o *options) runCell(ctx context.Context, c cell) (_ []*result, err error) {
	dir, remove, err := o.tempDir(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	for _, stale := range []string{"audit.log", "operator.log"} {
		if err := os.RemoveAll(filepath.Join(dir, stale)); err != nil {
			return nil, err
		}
	}
	s, err := open(ctx, o, c, dir)
	if err != nil {
		return nil, err
	}
	err = s.play(ctx)
	return s.results, errors.Join(err, s.close())
}
