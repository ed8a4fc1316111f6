/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudtest

import (
	"net"
	"sync"
)

// Relay forwards TCP connections to a server, as a load balancer does, and can kill them as a network does: silently.
type Relay struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	links []*link
}

// link is a connection through a relay. A dead one accepts bytes and drops them.
type link struct {
	mu             sync.Mutex
	dead           bool
	client, server net.Conn
}

// NewRelay relays a port of the loopback to a server. The caller closes it.
func NewRelay(server string) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, server: server}
	go r.accept()
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Kill kills the current connections silently: their bytes are dropped.
func (r *Relay) Kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		l.mu.Lock()
		l.dead = true
		l.mu.Unlock()
	}
}

// Connections counts the connections that were ever made.
func (r *Relay) Connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.links)
}

// Close ends the relay and its connections.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		_, _ = l.client.Close(), l.server.Close()
	}
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &link{client: client, server: server}
		r.mu.Lock()
		r.links = append(r.links, l)
		r.mu.Unlock()
		go l.pass(client, server)
		go l.pass(server, client)
	}
}

// pass copies one direction until an end is closed.
func (l *link) pass(from, to net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		dead := l.dead
		l.mu.Unlock()
		if n > 0 && !dead {
			_, _ = to.Write(buffer[:n])
		}
		if err != nil {
			if !dead {
				_ = to.Close()
			}
			return
		}
	}
}
