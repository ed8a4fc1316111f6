/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package serving

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
)

// Listen returns a listener with a bound on its connections. A new connection closes an old one if there are too many, so that
// nobody keeps others out: netutil.LimitListener would let the first ones keep all places.
func Listen(address string) (net.Listener, error) {
	inner, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return newListener(inner), nil
}

func newListener(inner net.Listener) *listener {
	l := &listener{Listener: inner}
	l.left = sync.NewCond(&l.mu)
	return l
}

var errTooLarge = errors.New("the request is too large")

type listener struct {
	net.Listener
	mu      sync.Mutex
	open    []*conn // the oldest first
	closing int     // connections that the listener closed, and the server has not yet
	closed  bool
	left    *sync.Cond // the server closed a connection
}

// Accept implements net.Listener. It waits if the server has yet to notice that many connections are closed, because their memory
// is still in use.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	for l.closing >= maxConnections && !l.closed {
		l.left.Wait()
	}
	l.mu.Unlock()
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, listener: l, address: addressOf(inner)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.unread.Store(maxRequestBytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = append(l.open, c)
	if len(l.open) > maxConnections {
		l.end(l.expendable())
	}
	return c, nil
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.mu.Lock()
	l.closed = true
	l.left.Broadcast()
	l.mu.Unlock()
	return l.Listener.Close()
}

// expendable returns the connection to close: not that of an authorized client, of the address with the most connections, the
// oldest. So a client with an address that no stranger shares is served however many connections others open.
func (l *listener) expendable() *conn {
	count := map[string]int{}
	for _, c := range l.open {
		if !c.trusted {
			count[c.address]++
		}
	}
	worst := l.open[0]
	for _, c := range l.open[1:] {
		if worst.trusted && !c.trusted || worst.trusted == c.trusted && count[c.address] > count[worst.address] {
			worst = c
		}
	}
	return worst
}

// end closes a connection. The server notices it, and calls Close.
func (l *listener) end(c *conn) {
	l.open = slices.DeleteFunc(l.open, func(other *conn) bool { return other == c })
	l.closing++
	c.ended = true
	c.cancel()
	_ = c.Conn.Close() // nobody waits for the error
}

// conn is a connection of a listener.
type conn struct {
	net.Conn
	listener *listener
	address  string // of the client, without the port
	ctx      context.Context
	cancel   context.CancelFunc
	once     sync.Once
	unread   atomic.Int64 // how much of the current request may follow

	trusted, ended bool // guarded by the listener's mutex
}

// Read implements net.Conn. The limit is not MaxHeaderBytes of net/http: after the response to a header that is too large, net/http
// keeps the connection for half a second.
func (c *conn) Read(p []byte) (int, error) {
	left := c.unread.Load()
	if left <= 0 {
		return 0, errTooLarge
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.unread.Add(int64(-n))
	return n, err
}

// Close implements net.Conn, for the server.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.cancel()
		l := c.listener
		l.mu.Lock()
		defer l.mu.Unlock()
		if c.ended {
			l.closing--
			l.left.Signal()
			return
		}
		l.open = slices.DeleteFunc(l.open, func(other *conn) bool { return other == c })
	})
	return c.Conn.Close()
}

func (c *conn) trust() {
	c.listener.mu.Lock()
	defer c.listener.mu.Unlock()
	c.trusted = true
}

func addressOf(c net.Conn) string {
	text := c.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(text); err == nil {
		return host
	}
	return text
}
