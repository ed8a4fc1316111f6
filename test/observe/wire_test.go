/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// wire is a TCP proxy between an operator and the API server. While it is stalled, it accepts connections and bytes but
// passes none on; once it is cut, it refuses connections.
type wire struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	open     chan struct{} // closed while bytes pass
	conns    []net.Conn
}

// newWire returns a wire to the API server of config, and a copy of config that uses it.
func newWire(t testing.TB, config *rest.Config) (*wire, *rest.Config) {
	t.Helper()
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: listener, target: target.Host, open: make(chan struct{})}
	close(w.open)
	go w.accept()
	t.Cleanup(w.cut)
	through := rest.CopyConfig(config)
	through.Host = "https://" + listener.Addr().String()
	return w, through
}

func (w *wire) accept() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, near, far)
		w.mu.Unlock()
		go w.pass(near, far)
		go w.pass(far, near)
	}
}

func (w *wire) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buffer := make([]byte, 32*1024)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			w.mu.Lock()
			open := w.open
			w.mu.Unlock()
			<-open
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// stall withholds all bytes until resume.
func (w *wire) stall() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

func (w *wire) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.open:
	default:
		close(w.open)
	}
}

// cut ends all connections and refuses new ones.
func (w *wire) cut() {
	w.resume()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range append([]io.Closer{w.listener}, closers(w.conns)...) {
		_ = c.Close()
	}
}

func closers(conns []net.Conn) (all []io.Closer) {
	for _, c := range conns {
		all = append(all, c)
	}
	return all
}
