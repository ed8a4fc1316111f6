/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

func TestParseURL(t *testing.T) {
	policy := cloud.URLPolicy{AllowedHosts: []string{
		"cloud-api.calyptia.com", ".example.com", "port.test:8443", "10.0.0.1", "[::1]", "fe80::1", "", ".",
	}}
	insecure := policy
	insecure.AllowInsecureHTTP = true
	for _, row := range []struct {
		name, raw string
		policy    cloud.URLPolicy
		want      string // the URL
		remedy    string // or words of the error
	}{
		{"the public service", "https://cloud-api.calyptia.com", policy, "https://cloud-api.calyptia.com", ""},
		{"capitals", "HTTPS://Cloud-API.Calyptia.com", policy, "https://cloud-api.calyptia.com", ""},
		{"a trailing slash", "https://cloud-api.calyptia.com/", policy, "https://cloud-api.calyptia.com", ""},
		{"a path prefix", "https://cloud-api.calyptia.com/a/b//", policy, "https://cloud-api.calyptia.com/a/b", ""},
		{"any port of an entry without one", "https://cloud-api.calyptia.com:8443", policy, "https://cloud-api.calyptia.com:8443", ""},
		{"a name below a suffix", "https://a.b.example.com", policy, "https://a.b.example.com", ""},
		{"the port of the entry", "https://port.test:8443", policy, "https://port.test:8443", ""},
		{"an address", "https://10.0.0.1", policy, "https://10.0.0.1", ""},
		{"an IPv6 address in brackets", "https://[::1]:443", policy, "https://[::1]", ""},
		{"an IPv6 address without", "https://[fe80::1]", policy, "https://[fe80::1]", ""},
		{"http where it is permitted", "http://10.0.0.1:8080", insecure, "http://10.0.0.1:8080", ""},

		{"http where it is not", "http://10.0.0.1:8080", policy, "", "--allow-insecure-http"},
		{"another scheme", "ftp://10.0.0.1", insecure, "", "scheme"},
		{"another host", "https://evil.test", policy, "", "--allowed-hosts"},
		{"no hosts at all", "https://10.0.0.1", cloud.URLPolicy{}, "", "--allowed-hosts"},
		{"another port than the entry's", "https://port.test", policy, "", "--allowed-hosts"},
		{"the suffix itself", "https://example.com", policy, "", "--allowed-hosts"},
		{"a suffix within a label", "https://evilexample.com", policy, "", "--allowed-hosts"},
		{"a host with the name before it", "https://cloud-api.calyptia.com.evil.test", policy, "", "--allowed-hosts"},
		{"a trailing dot", "https://cloud-api.calyptia.com.", policy, "", "--allowed-hosts"},
		{"an address below a suffix", "https://10.0.0.1", cloud.URLPolicy{AllowedHosts: []string{".1", ".0.0.1"}}, "", "--allowed-hosts"},
		{"an international name", "https://\u00fc.example.com", policy, "", "xn--"},
		{"user information", "https://user:hunter2@cloud-api.calyptia.com", policy, "", "user information"},
		{"empty user information", "https://@cloud-api.calyptia.com", policy, "", "user information"},
		{"a query", "https://cloud-api.calyptia.com?a=b", policy, "", "query"},
		{"an empty query", "https://cloud-api.calyptia.com?", policy, "", "query"},
		{"a fragment", "https://cloud-api.calyptia.com#a", policy, "", "fragment"},
		{"an empty fragment", "https://cloud-api.calyptia.com#", policy, "", "fragment"},
		{"dot segments", "https://cloud-api.calyptia.com/a/../b", policy, "", "path"},
		{"a character that is escaped when it is sent", "https://cloud-api.calyptia.com/!a", policy, "", "path"},
		{"escaped dots", "https://cloud-api.calyptia.com/%2e%2e/b", policy, "", "path"},
		{"the version", "https://cloud-api.calyptia.com/v1", policy, "", "/v1"},
		{"the version and slashes", "https://cloud-api.calyptia.com/base/v1//", policy, "", "/v1"},
		{"the URL of a request", "https://cloud-api.calyptia.com/v1/agents/", policy, "", "/v1"},
		{"a port that is none", "https://cloud-api.calyptia.com:99999", policy, "", "port"},
		{"an empty port", "https://cloud-api.calyptia.com:", policy, "", "port"},
		{"no host", "https:///a", policy, "", "absolute"},
		{"no scheme", "cloud-api.calyptia.com", policy, "", "absolute"},
		{"opaque", "https:cloud-api.calyptia.com", policy, "", "absolute"},
		{"nothing", "", policy, "", "absolute"},
		{"a malformed one with a password", "https://user:hunter2@cloud-api.calyptia.com:port%zz", policy, "", "absolute"},
		{"spaces around", " https://cloud-api.calyptia.com", policy, "", "absolute"},
		{"too long", "https://cloud-api.calyptia.com/" + strings.Repeat("a", 3000), policy, "", "longer"},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := cloud.ParseURL(row.raw, row.policy)
			if row.remedy == "" {
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(row.want, got.String()); diff != "" {
					t.Errorf("URL (-want +got):\n%s", diff)
				}
				return
			}
			if err == nil {
				t.Fatalf("accepted as %s", got)
			}
			if text := err.Error(); !strings.HasPrefix(text, "url: ") || !strings.Contains(text, row.remedy) || strings.Contains(text, "hunter2") {
				t.Errorf("%q should name the field and %q, and no password", text, row.remedy)
			}
		})
	}
}
