/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
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
	path, err := prefix(parsed)
	if err != nil {
		return nil, err
	}
	if !policy.allows(parsed) {
		return nil, fmt.Errorf("url: host %q is not permitted; the operator's flag --allowed-hosts names the hosts that are",
			Clean(parsed.Host, maxName))
	}
	return &url.URL{Scheme: parsed.Scheme, Host: strings.ToLower(parsed.Host), Path: path}, nil
}

// prefix returns the path without its trailing slashes. Dot segments and
// escapes are rejected: a proxy could resolve them to another path.
func prefix(u *url.URL) (string, error) {
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if segment == "." || segment == ".." || strings.ContainsAny(segment, `%\`) {
			return "", fmt.Errorf("url: the path must be plain, without dot segments and escapes")
		}
	}
	path := strings.TrimRight(u.Path, "/")
	if version := strings.TrimRight(strings.TrimSuffix(path, "/agents"), "/"); strings.HasSuffix(version, "/v1") {
		return "", fmt.Errorf("url: must not end in /v1: remove it, the operator adds it to every request")
	}
	return path, nil
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
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
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
	entry = strings.ToLower(strings.TrimSpace(entry))
	if host, port, err := net.SplitHostPort(entry); err == nil {
		return host, port
	}
	return strings.Trim(entry, "[]"), ""
}
