/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package options

import (
	"bufio"
	"bytes"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
)

// repeats serves each connection once: it repeats the request's token after its response.
func repeats(t *testing.T) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				request, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}you sent "+request.Header.Get("Authorization"))
				_, _ = io.Copy(io.Discard, conn)
			}()
		}
	}()
	return "http://" + listener.Addr().String()
}

// Net/http logs what comes after a response. A server may send the token there.
func TestTheStandardLogHasNoToken(t *testing.T) {
	lines := make(chan string, 100)
	TakeStandardLog(funcr.New(func(_, line string) { lines <- line }, funcr.Options{Verbosity: 1}))
	t.Cleanup(func() {
		stdlog.SetFlags(stdlog.LstdFlags)
		stdlog.SetOutput(os.Stderr)
	})
	const token = "the-token-of-the-project"
	url, transport := repeats(t), &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	var said bytes.Buffer
	for said.Len() == 0 {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", token)
		if response, err := transport.RoundTrip(request); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		select {
		case line := <-lines:
			said.WriteString(line)
		default: // Net/http looks at the connection again before the next request, or has looked too early.
		}
	}
	if text := said.String(); strings.Contains(text, token) || !strings.Contains(text, "Unsolicited response") {
		t.Errorf("the log says %s", text)
	}
}
