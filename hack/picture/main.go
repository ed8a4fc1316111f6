/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Command picture runs a command and draws its output over time as an animated SVG of a terminal. The picture of the README
// is a recorded run of the demo.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	out := flag.String("out", "docs/demo.svg", "File to write.")
	title := flag.String("title", "make demo", "Title of the window.")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "picture: name the command to run, as in: picture -out docs/demo.svg bin/demo --once")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lines, err := record(ctx, os.Stdout, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture: the command failed, so there is no picture:", err)
		return 1
	}
	if err := os.WriteFile(*out, []byte(draw(*title, lines)), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		return 1
	}
	return 0
}

// line is a printed line with its colors and its time.
type line struct {
	text string
	at   time.Duration
}

// record runs the command, prints its output, and returns it.
func record(ctx context.Context, show io.Writer, args []string) ([]line, error) {
	command := exec.CommandContext(ctx, args[0], args[1:]...)
	command.Env = append(os.Environ(), "CLICOLOR_FORCE=1")
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	to := &recorder{show: show, root: root, began: time.Now()}
	command.Stdout, command.Stderr = to, to
	err = command.Run()
	to.end()
	return to.lines, err
}

// recorder notes each line with its time.
type recorder struct {
	show  io.Writer
	root  string
	began time.Time
	rest  string
	lines []line
}

// Write implements io.Writer.
func (r *recorder) Write(raw []byte) (int, error) {
	r.rest += string(raw)
	for {
		text, rest, whole := strings.Cut(r.rest, "\n")
		if !whole {
			return r.show.Write(raw)
		}
		r.add(text)
		r.rest = rest
	}
}

// add records a line, without the path of the working directory.
func (r *recorder) add(text string) {
	r.lines = append(r.lines, line{strings.ReplaceAll(text, r.root, "~/operator"), time.Since(r.began)})
}

func (r *recorder) end() {
	if r.rest != "" {
		r.add(r.rest)
	}
}
