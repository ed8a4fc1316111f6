/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// Cut says when the connection is dropped without a response.
type Cut int

const (
	// CutNone drops nothing.
	CutNone Cut = iota
	// CutBefore drops it before the request takes effect.
	CutBefore
	// CutAfter drops it after the request took effect.
	CutAfter
)

// Fault is a failure of the requests that it matches. Its parts apply in this order: Entered, Block, Latency, the handler or
// the response in its place, Cut, Truncate or Drip.
type Fault struct {
	Method string                   // "" matches any
	Route  Route                    // "" matches any
	Match  func(*http.Request) bool // nil matches any; it must not call the server
	Times  int                      // how many requests it affects; 0: all

	// Entered receives a value for each affected request. May be nil.
	Entered chan<- struct{}
	// Block, if not nil, delays the request until it is closed.
	Block <-chan struct{}
	// Latency delays the request. A request whose client gives up meanwhile, or during Block, has no effect.
	Latency time.Duration
	// DetachedDelay delays the request until its client gives up, and commits it
	// then, after Block and this delay: an API that commits late.
	DetachedDelay time.Duration

	// Status, if not 0, is returned with Header and Body instead of the real response; with After the request takes effect
	// first. Without Status, Header is added to the real response.
	Status int
	Header http.Header
	Body   string
	After  bool

	Cut Cut
	// Truncate sends so many bytes of the body, then drops the connection.
	Truncate int
	// Drip sends the body at one byte per interval.
	Drip time.Duration
}

type injected struct {
	Fault
	used int
}

// fault finds and consumes the fault of a request. The caller holds the lock.
func (s *Server) fault(r *http.Request, route Route, rewind func()) *Fault {
	for i, in := range s.faults {
		if (in.Method != "" && in.Method != r.Method) || (in.Route != "" && in.Route != route) {
			continue
		}
		if in.Match != nil {
			rewind()
			if !in.Match(r) {
				continue
			}
		}
		in.used++
		if in.Times > 0 && in.used >= in.Times {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return new(in.Fault)
	}
	return nil
}

// hold applies the delays of the fault; false if the client gave up first.
func (f *Fault) hold(ctx context.Context) bool {
	if f.Entered != nil {
		select {
		case f.Entered <- struct{}{}:
		case <-ctx.Done():
			return false
		}
	}
	if f.DetachedDelay > 0 {
		<-ctx.Done()
		return false
	}
	if f.Block != nil {
		select {
		case <-f.Block:
		case <-ctx.Done():
			return false
		}
	}
	return pause(ctx, f.Latency)
}

// pause waits; false if the context ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run handles a request under a fault, and never returns if the connection drops.
func (s *Server) run(w http.ResponseWriter, r *http.Request, c *incoming, f *Fault) {
	if f.DetachedDelay > 0 {
		s.detached.Add(1)
	}
	if !f.hold(r.Context()) {
		if f.DetachedDelay > 0 {
			go s.commitLate(c, f)
		}
		panic(http.ErrAbortHandler)
	}
	if f.Cut == CutBefore {
		panic(http.ErrAbortHandler)
	}
	var a response
	if f.Status == 0 || f.After || f.Cut == CutAfter {
		a = s.handle(c)
	}
	if f.Status != 0 {
		a = response{status: f.Status, header: http.Header{}, body: []byte(f.Body)}
	}
	for name, values := range f.Header {
		a.header[http.CanonicalHeaderKey(name)] = values
	}
	if f.Cut == CutAfter {
		panic(http.ErrAbortHandler)
	}
	s.responded(c.record, a.status)
	f.send(r.Context(), w, a)
}

// commitLate handles a request whose client gave up.
func (s *Server) commitLate(c *incoming, f *Fault) {
	defer s.detached.Done()
	if f.Block != nil {
		<-f.Block
	}
	<-time.After(f.DetachedDelay)
	s.handle(c)
}

// send writes the response as the fault says.
func (f *Fault) send(ctx context.Context, w http.ResponseWriter, a response) {
	if f.Truncate <= 0 && f.Drip <= 0 {
		a.write(w)
		return
	}
	whole := a.body
	a.header.Set("Content-Length", strconv.Itoa(len(whole)))
	a.body = nil
	a.write(w)
	control := http.NewResponseController(w)
	_ = control.Flush()
	if f.Truncate > 0 {
		_, _ = w.Write(whole[:min(f.Truncate, len(whole))])
		_ = control.Flush()
		panic(http.ErrAbortHandler)
	}
	for i := range whole {
		if !pause(ctx, f.Drip) {
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(whole[i : i+1])
		_ = control.Flush()
	}
}
