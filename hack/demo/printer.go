/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// printer writes what the audience sees. Its lines come from more than one goroutine.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	color bool
}

func newPrinter(out *os.File) *printer {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
	wanted := terminal || os.Getenv("CLICOLOR_FORCE") != "" // as hack/picture does
	return &printer{out: out, color: wanted && os.Getenv("NO_COLOR") == ""}
}

// Colors of a terminal.
const (
	bold  = "1"
	cyan  = "36"
	green = "32"
	red   = "31"
)

func (p *printer) paint(color, text string) string {
	if !p.color {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// Write prints the output of commands as it arrives.
func (p *printer) Write(raw []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(raw)
}

func (p *printer) say(format string, args ...any) { _, _ = fmt.Fprintf(p, format+"\n", args...) }

// heading begins a part of the show.
func (p *printer) heading(title string) {
	text := "== " + title + " "
	p.say("\n%s", p.paint(bold, text+strings.Repeat("=", max(0, 100-len(text)))))
}

// command shows what is run next.
func (p *printer) command(text string) { p.say("%s", p.paint(cyan, "$ "+text)) }

// passed reports a check that passed.
func (p *printer) passed(what string) { p.say("%s %s", p.paint(green, "  ok:"), what) }

func (p *printer) failed(err error) { p.say("%s %v", p.paint(red, "\nFAILED:"), err) }
