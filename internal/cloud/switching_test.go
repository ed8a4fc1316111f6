/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// A server switches protocols, which nobody asked for, and sends nothing more.
func TestAServerThatSwitchesProtocolsHoldsNoRequest(t *testing.T) {
	t.Parallel()
	for name, length := range map[string]string{"no length": "", "a length": "Content-Length: 100\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n"+length+"\r\n")
				_, _ = io.Copy(io.Discard, conn) // Until the client closes the connection.
			}))
			t.Cleanup(server.Close)
			client := newClient(t, server.URL, cloud.Config{Timeout: time.Minute})
			ended := make(chan error, 1)
			go func() {
				_, err := client.Register(t.Context(), registration("machine-1"))
				ended <- err
			}()
			select {
			case err := <-ended:
				e := failure(t, err)
				if e.Reason != cloud.ReasonInvalidResponse || e.Status != http.StatusSwitchingProtocols || e.NothingMade() {
					t.Errorf("got %v", err)
				}
			case <-time.After(10 * time.Second):
				server.CloseClientConnections()
				t.Error("the request has not ended")
			}
		})
	}
}
