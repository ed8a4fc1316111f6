/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package serving serves HTTP to anybody who reaches a port, and bounds what they cost: memory, and the requests of others.
package serving

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// maxConnections is far more than the kubelet and some readers of the metrics need.
	maxConnections = 64
	// maxRequestBytes is enough for a TLS handshake and a header with the longest token that the metrics accept.
	maxRequestBytes = 32 << 10
	// headerTime bounds the TLS handshake and the header of a request; requestTime bounds each request and response.
	headerTime, requestTime = 5 * time.Second, time.Minute
	// idleTime is longer than the usual interval of Prometheus.
	idleTime = 90 * time.Second
)

// shutdownTime bounds how long a client can delay the end of the operator, and with it the release of the lease.
var shutdownTime = 5 * time.Second

// New returns a server on a listener of Listen, or on a TLS listener around it. Metrics and probes of controller-runtime accept
// any number of connections, with a header of a megabyte each.
func New(name string, listener net.Listener, handler http.Handler) *manager.Server {
	return &manager.Server{
		Name: name, Listener: listener, ShutdownTimeout: &shutdownTime,
		Server: &http.Server{
			Handler: withoutBody(handler), ConnContext: connContext, ConnState: connState,
			ReadHeaderTimeout: headerTime, ReadTimeout: requestTime, WriteTimeout: requestTime, IdleTimeout: idleTime,
		},
	}
}

// withoutBody closes the connection of a request with a body: net/http would wait for the body after the response.
func withoutBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
		} else if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close() // nobody waits for the error
		}
	})
}

// connOf returns the connection of the listener below a connection of the server; nil for another listener's.
func connOf(c net.Conn) *conn {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	below, _ := c.(*conn)
	return below
}

// connState allows a connection its next request.
func connState(c net.Conn, state http.ConnState) {
	if below := connOf(c); below != nil && state == http.StateIdle {
		below.unread.Store(maxRequestBytes)
	}
}

type contextKey struct{}

// connContext ends the requests of a connection when the listener closes it: net/http does not always notice it.
func connContext(ctx context.Context, c net.Conn) context.Context {
	below := connOf(c)
	if below == nil {
		return ctx
	}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, contextKey{}, below))
	context.AfterFunc(below.ctx, cancel)
	return ctx
}

// Trust returns a handler that first marks the connection as that of an authorized client: the listener closes it only if there
// is no other.
func Trust(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(contextKey{}).(*conn); ok {
			c.trust()
		}
		next.ServeHTTP(w, r)
	})
}
