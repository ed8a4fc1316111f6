/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// A server that repeats a part of the token, as many do to say which one they mean, shows nothing of it.
func TestError_PartsOfTheToken_AreHidden(t *testing.T) {
	const token = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, row := range []struct{ name, echo string }{
		{"its start", token[:40] + "..."},
		{"its end", "..." + token[20:]},
		{"its middle", "..." + token[10:50] + "..."},
		{"in two", token[:30] + " " + token[30:]},
		{"with one character encoded", token[:20] + "%75" + token[21:]},
		{"after much else", strings.Repeat("x ", 240) + token},
	} {
		t.Run(row.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = fmt.Fprintf(w, `{"error":"invalid token: %s"}`, row.echo)
			}))
			t.Cleanup(server.Close)
			base, err := cloud.ParseURL(server.URL, cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true})
			if err != nil {
				t.Fatal(err)
			}
			c, err := cloud.New(cloud.Config{BaseURL: base, Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken(token)}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Get(t.Context(), "8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11")
			for at := range len(token) - 16 {
				if part := token[at : at+16]; strings.Contains(err.Error(), part) {
					t.Fatalf("%q shows %q", err, part)
				}
			}
		})
	}
}
