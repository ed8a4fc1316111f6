/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Records, leases and intents compare endpoints by the text of their URL: what leads to one endpoint has one spelling, also where
// an older operator has recorded another.
func TestParseURL_OneEndpointHasOneSpelling(t *testing.T) {
	policy := cloud.URLPolicy{
		AllowedHosts: []string{"api.example.com", "10.0.0.1", "[2001:db8:0::1]:0443"}, AllowInsecureHTTP: true,
	}
	for _, row := range []struct{ other, want string }{
		{"HTTPS://API.example.com/", "https://api.example.com"},
		{"https://api.example.com:443", "https://api.example.com"},
		{"https://api.example.com:0443/a", "https://api.example.com/a"},
		{"http://api.example.com:80", "http://api.example.com"},
		{"https://api.example.com:80", "https://api.example.com:80"},
		{"https://api.example.com:08443", "https://api.example.com:8443"},
		{"https://api.example.com//a///b//", "https://api.example.com/a/b"},
		{"https://[::ffff:10.0.0.1]", "https://10.0.0.1"},
		{"https://[2001:DB8:0:0::1]:443", "https://[2001:db8::1]"},
	} {
		if got, err := cloud.ParseURL(row.other, policy); err != nil || got.String() != row.want {
			t.Errorf("%s becomes %s, %v; want %s", row.other, got, err, row.want)
		}
		if got := cloud.CanonicalURL(row.other); got != row.want {
			t.Errorf("the recorded %s becomes %s, want %s", row.other, got, row.want)
		}
	}
	for _, kept := range []string{"", "no URL", ":"} {
		if got := cloud.CanonicalURL(kept); got != kept {
			t.Errorf("the recorded %q becomes %q", kept, got)
		}
	}
}
