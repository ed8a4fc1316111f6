/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

const maxURL = 2048

// URLPolicy restricts the base URLs of the API.
type URLPolicy struct {
	// AllowedHosts are host, host:port, or .suffix for every name below it. An entry without a port permits any port.
	AllowedHosts []string
	// AllowInsecureHTTP permits http, with tokens in clear text.
	AllowInsecureHTTP bool
}

// ParseURL parses the base URL of an API and checks it against the policy. The
// errors name the field "url" and the remedy, and never repeat user info.
func ParseURL(raw string, policy URLPolicy) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, fmt.Errorf("url: longer than %d characters", maxURL)
	}
	parsed, err := url.Parse(raw)
	// The parser's error is dropped: it repeats the URL, including passwords.
	if err != nil || !parsed.IsAbs() || parsed.Opaque != "" || parsed.Hostname() == "" {
		return nil, fmt.Errorf("url: must be an absolute URL such as https://cloud-api.calyptia.com")
	}
	switch {
	case parsed.User != nil:
		return nil, fmt.Errorf("url: must not hold user information; the token belongs in a Secret")
	case parsed.RawQuery != "" || parsed.ForceQuery:
		return nil, fmt.Errorf("url: must not have a query")
	case strings.Contains(raw, "#"):
		return nil, fmt.Errorf("url: must not have a fragment")
	case parsed.Scheme == "http" && !policy.AllowInsecureHTTP:
		return nil, fmt.Errorf("url: must be https; the operator's flag --allow-insecure-http permits http")
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return nil, fmt.Errorf("url: the scheme must be https")
	}
	if !validPort(parsed) {
		return nil, fmt.Errorf("url: the port must be a number from 1 to 65535")
	}
	if !ascii(parsed.Host) {
		return nil, fmt.Errorf("url: the host must be ASCII: write an international name in its form xn--")
	}
	if err := checkPath(parsed); err != nil {
		return nil, err
	}
	base := canonicalURL(parsed)
	if !policy.allows(base) {
		return nil, fmt.Errorf("url: host %q is not permitted; the operator's flag --allowed-hosts names the hosts that are",
			Clean(parsed.Host, maxName))
	}
	return base, nil
}

// CanonicalURL returns the spelling that ParseURL gives to a base URL, for one that an older operator has recorded in another.
func CanonicalURL(recorded string) string {
	if parsed, err := url.Parse(recorded); err == nil && parsed.Host != "" {
		return canonicalURL(parsed).String()
	}
	return recorded
}

// canonicalURL gives a base URL the only spelling of its endpoint: endpoints are compared by their text.
func canonicalURL(u *url.URL) *url.URL {
	host, port := canonicalHost(u.Hostname()), canonicalPort(u.Port())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" && port != usualPorts[u.Scheme] {
		host += ":" + port
	}
	return &url.URL{Scheme: u.Scheme, Host: host, Path: strings.TrimRight(slashes.ReplaceAllString(u.Path, "/"), "/")}
}

var (
	usualPorts = map[string]string{"https": "443", "http": "80"}
	slashes    = regexp.MustCompile("//+")
)

func canonicalHost(host string) string {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.Unmap().String()
	}
	return strings.ToLower(host)
}

func canonicalPort(port string) string { return strings.TrimLeft(port, "0") }

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// checkPath rejects dot segments and escapes: a proxy could resolve them to another path. So it does characters that would be escaped
// when they are sent, such as "!".
func checkPath(u *url.URL) error {
	sent := url.URL{Path: u.Path}
	for segment := range strings.SplitSeq(u.EscapedPath()+"/"+sent.EscapedPath(), "/") {
		if segment == "." || segment == ".." || strings.ContainsAny(segment, `%\`) {
			return fmt.Errorf("url: the path must be plain, without dot segments and escapes")
		}
	}
	path := strings.TrimRight(u.Path, "/")
	if version := strings.TrimRight(strings.TrimSuffix(path, "/agents"), "/"); strings.HasSuffix(version, "/v1") {
		return fmt.Errorf("url: must not end in /v1: remove it, the operator adds it to every request")
	}
	return nil
}

func validPort(u *url.URL) bool {
	if u.Port() == "" {
		return !strings.HasSuffix(u.Host, ":")
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// allows reports whether an entry permits the URL's host and port.
func (p URLPolicy) allows(u *url.URL) bool {
	host, port := u.Hostname(), cmp.Or(u.Port(), usualPorts[u.Scheme])
	_, err := netip.ParseAddr(host)
	isAddress := err == nil
	return slices.ContainsFunc(p.AllowedHosts, func(entry string) bool {
		allowed, allowedPort := splitEntry(entry)
		if allowed == "" || (allowedPort != "" && allowedPort != port) {
			return false
		}
		if strings.HasPrefix(allowed, ".") {
			// Only names have labels: ".1" must not match 10.0.0.1.
			return !isAddress && len(allowed) > 1 && len(host) > len(allowed) && strings.HasSuffix(host, allowed)
		}
		return host == allowed
	})
}

func splitEntry(entry string) (host, port string) {
	entry = strings.TrimSpace(entry)
	if host, port, err := net.SplitHostPort(entry); err == nil {
		return canonicalHost(host), canonicalPort(port)
	}
	return canonicalHost(strings.Trim(entry, "[]")), ""
}
