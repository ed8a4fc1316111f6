/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package serving

import (
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// queue is a listener of connections that a test makes.
type queue chan net.Conn

func (q queue) Accept() (net.Conn, error) {
	if c, ok := <-q; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (q queue) Close() error   { close(q); return nil }
func (q queue) Addr() net.Addr { return &net.TCPAddr{} }

// from is a connection from an address.
type from struct {
	net.Conn
	address string
}

func (f from) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(f.address), Port: 1234} }

// accept has the listener accept a connection from an address, and returns the server's side.
func accept(t *testing.T, l *listener, address string) *conn {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { _ = far.Close() })
	l.Listener.(queue) <- from{near, address}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*conn)
}

const one, other = "10.0.0.1", "10.0.0.2"

func TestListener_ClosesTheConnectionThatCostsOthersLeast(t *testing.T) {
	many := func(count int, address string) []string { return slices.Repeat([]string{address}, count) }
	for _, row := range []struct {
		name    string
		open    []string
		trusted func(i int) bool
		latest  string
		want    int // the index of the one that is closed
	}{
		{"of one address, the oldest", many(maxConnections, one), nil, one, 0},
		{"of one address, for the first of another", many(maxConnections, one), nil, other, 0},
		{"not the only one of another address, although it is the oldest", append(many(1, other), many(maxConnections-1, one)...), nil, one, 1},
		{"not the only one of another address, for its second", append(many(1, other), many(maxConnections-1, one)...), nil, other, 1},
		{"the latest counts", append(many(maxConnections/2, one), many(maxConnections/2, other)...), nil, other, maxConnections / 2},
		{"not an authorized one", many(maxConnections, one), func(i int) bool { return i < 3 }, one, 3},
		{"the only one that is not authorized", append(many(maxConnections-1, one), other),
			func(i int) bool { return i < maxConnections-1 }, one, maxConnections - 1},
		{"the latest, if all are authorized", many(maxConnections, one), func(int) bool { return true }, other, maxConnections},
	} {
		t.Run(row.name, func(t *testing.T) {
			l := newListener(make(queue, 1))
			var all []*conn
			for i, address := range row.open {
				all = append(all, accept(t, l, address))
				if row.trusted != nil && row.trusted(i) {
					all[i].trust()
				}
			}
			all = append(all, accept(t, l, row.latest))
			for i, c := range all {
				if (c.ctx.Err() != nil) != (i == row.want) || c.ended != (i == row.want) {
					t.Errorf("connection %d is closed: %v; want only %d", i, c.ended, row.want)
				}
			}
			if err := all[row.want].SetReadDeadline(time.Now().Add(time.Second)); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Fatal(err)
			}
			if _, err := all[row.want].Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("a read of the closed one returns %v", err)
			}
		})
	}
}

// What the listener closed still takes memory until the server closes it, too.
func TestListener_WaitsForAServerThatDoesNotClose(t *testing.T) {
	l := newListener(make(queue, 1))
	var all []*conn
	for range 2 * maxConnections {
		all = append(all, accept(t, l, one))
	}
	accepted := make(chan error)
	again := func() {
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
	}
	near, far := net.Pipe()
	defer far.Close()
	l.Listener.(queue) <- from{near, one}
	again()
	select {
	case err := <-accepted:
		t.Fatalf("accepted with %d connections that are not closed, %v", l.closing, err)
	case <-time.After(50 * time.Millisecond):
	}
	for range 2 { // The second call does not count.
		_ = all[0].Close()
	}
	if err := <-accepted; err != nil || l.closing != maxConnections || len(l.open) != maxConnections {
		t.Errorf("%v, %d open, %d closing", err, len(l.open), l.closing)
	}
	again()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestListener_ForgetsWhatTheServerClosed(t *testing.T) {
	l := newListener(make(queue, 1))
	kept := accept(t, l, one)
	for range 3 * maxConnections {
		if err := accept(t, l, one).Close(); err != nil {
			t.Fatal(err)
		}
	}
	if kept.ended || len(l.open) != 1 || l.closing != 0 {
		t.Errorf("the open one is closed: %v; %d open, %d closing", kept.ended, len(l.open), l.closing)
	}
}
