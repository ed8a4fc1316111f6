/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package serving

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-logr/logr"
)

// serve serves a handler until the end of the test, over TLS if config is not nil, and returns the address.
func serve(t *testing.T, config *tls.Config, handler http.HandlerFunc) (string, *listener) {
	t.Helper()
	bounded, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	outer := bounded
	if config != nil {
		outer = tls.NewListener(bounded, config)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- New("test", outer, handler).Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return bounded.Addr().String(), bounded.(*listener)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestNew_ARequestThatIsTooLargeReachesNoHandlerAndEndsItsConnection(t *testing.T) {
	long := strings.Repeat("a", maxRequestBytes)
	for name, request := range map[string]string{
		"a header that is too large": "GET / HTTP/1.1\r\nHost: x\r\nX: " + long + "\r\n\r\n",
		"a header without an end":    "GET / HTTP/1.1\r\nHost: x\r\nX: " + long,
		"a path that is too long":    "GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"many headers":               "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X:\r\n", maxRequestBytes/4) + "\r\n",
		"a body":                     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
		"a body of unknown length":   "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var served atomic.Bool
			address, l := serve(t, nil, func(http.ResponseWriter, *http.Request) { served.Store(true) })
			c := dial(t, address)
			_, _ = io.WriteString(c, request) // It fails if the server closed the connection already.
			_, _ = io.Copy(io.Discard, c)     // It returns because the server closes the connection.
			l.mu.Lock()
			defer l.mu.Unlock()
			if served.Load() || len(l.open) > 0 {
				t.Errorf("it reached the handler: %v; %d connections are open", served.Load(), len(l.open))
			}
		})
	}
}

func TestNew_ServesAnyNumberOfRequestsOnOneConnection(t *testing.T) {
	config, err := TLSConfig(t.Context(), logr.Discard(), "")
	if err != nil {
		t.Fatal(err)
	}
	for name, config := range map[string]*tls.Config{"plain": nil, "over TLS": config} {
		t.Run(name, func(t *testing.T) {
			address, _ := serve(t, config, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr) })
			transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
			defer transport.CloseIdleConnections()
			scheme := map[bool]string{true: "http://", false: "https://"}[config == nil]
			var first string
			for range 8 {
				request, err := http.NewRequest(http.MethodGet, scheme+address, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("X", strings.Repeat("a", maxRequestBytes/2))
				response, err := transport.RoundTrip(request)
				if err != nil {
					t.Fatal(err)
				}
				client, err := io.ReadAll(response.Body)
				if err := errors.Join(err, response.Body.Close()); err != nil {
					t.Fatal(err)
				}
				if first == "" {
					first = string(client)
				}
				if response.StatusCode != http.StatusOK || string(client) != first || response.ProtoMajor != 1 {
					t.Errorf("%s over %s, from %s; want one connection of HTTP/1.1, from %s", response.Status, response.Proto, client, first)
				}
			}
		})
	}
}

// net/http does not notice that a connection is closed while a second request waits in it.
func TestNew_ARequestEndsWithItsConnection(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	address, _ := serve(t, nil, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	if _, err := io.WriteString(dial(t, address), strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 2)); err != nil {
		t.Fatal(err)
	}
	<-begun
	for range maxConnections {
		dial(t, address)
	}
	<-ended
}

func TestTrust_KeepsTheConnectionOfAnAuthorizedClient(t *testing.T) {
	config, err := TLSConfig(t.Context(), logr.Discard(), "")
	if err != nil {
		t.Fatal(err)
	}
	trusted := Trust(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	address, _ := serve(t, config, trusted.ServeHTTP)
	c := tls.Client(dial(t, address), &tls.Config{InsecureSkipVerify: true})
	responses := bufio.NewReader(c)
	get := func() error {
		if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return err
		}
		response, err := http.ReadResponse(responses, nil)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	var others []net.Conn
	for range 2 * maxConnections {
		others = append(others, dial(t, address))
	}
	if _, err := others[0].Read(make([]byte, 1)); err == nil {
		t.Error("the oldest of the others gets a response")
	}
	if err := get(); err != nil {
		t.Errorf("the connection of an authorized client is closed: %v", err)
	}
}
