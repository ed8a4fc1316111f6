/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

const (
	// Before this share of the work is done, the remaining time is a guess and not printed.
	smallestSample = 0.05
	// Without a terminal, a line is printed for each share of this size.
	lineEvery = 0.1
)

// progress prints the share of the work that is done, and the remaining time at the current rate.
type progress struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	now      func() time.Time
	began    time.Time
	done     float64
	all      float64
	said     float64 // the share of the last line
	shown    time.Time
}

func newProgress(out *os.File) *progress {
	info, err := out.Stat()
	return &progress{
		out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb",
		now: time.Now, began: time.Now(),
	}
}

// expect adds work, or removes work that is not needed.
func (p *progress) expect(work float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all += work
}

// did adds completed work.
func (p *progress) did(work float64, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += work
	share := p.share()
	now := p.now()
	switch {
	case p.terminal && now.Sub(p.shown) >= 100*time.Millisecond:
		p.shown = now
		_, _ = fmt.Fprintf(p.out, "\r\x1b[K%s: %.60s", p.line(share), what)
	case !p.terminal && share >= p.said+lineEvery:
		p.said = share
		_, _ = fmt.Fprintln(p.out, p.line(share))
	}
}

func (p *progress) share() float64 {
	if p.all <= 0 {
		return 0
	}
	return min(p.done/p.all, 0.99) // the last of it is not done before it ends
}

func (p *progress) line(share float64) string {
	line := fmt.Sprintf("demo: %2.0f %%", 100*share)
	if share < smallestSample {
		return line
	}
	elapsed := p.now().Sub(p.began)
	left := time.Duration(float64(elapsed) * (1 - share) / share).Round(time.Second)
	return fmt.Sprintf("%s, about %v left", line, left)
}

// say prints its own line.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		_, _ = fmt.Fprint(p.out, "\r\x1b[K")
	}
	_, _ = fmt.Fprintf(p.out, "demo: "+format+"\n", args...)
}
