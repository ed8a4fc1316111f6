/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Network errors go into conditions. So their texts are the same at every try, without a time, a local port or a connection
// number, and repeat at most one short name from certificates, proxies or name servers.

// maxName bounds what is repeated of a certificate or of an unknown error.
const maxName = 128

var errProxyAddress = errors.New("the address of the proxy is malformed: correct HTTPS_PROXY")

// proxyRefusal is the response of a proxy that does not connect.
type proxyRefusal struct{ status int }

func (r *proxyRefusal) Error() string {
	if r.status == http.StatusProxyAuthRequired {
		return "asks for credentials: put them into HTTPS_PROXY"
	}
	return fmt.Sprintf("refuses to connect (%d): have it permit this, or correct HTTPS_PROXY", r.status)
}

// onConnect keeps the text of a proxy's response out of errors.
func onConnect(_ context.Context, _ *url.URL, _ *http.Request, response *http.Response) error {
	if response.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{status: response.StatusCode}
}

// proxyOf keeps the address of a proxy, which may have a password, out of errors.
func proxyOf(f func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if f == nil {
		f = http.ProxyFromEnvironment
	}
	return func(r *http.Request) (*url.URL, error) {
		proxy, err := f(r)
		if err != nil {
			return nil, errProxyAddress
		}
		return proxy, nil
	}
}

// unreached says why a request had no response. proxy is empty without one;
// connected is true if the request had a connection.
func unreached(err error, proxy string, connected bool) string {
	if refusal, ok := errors.AsType[*proxyRefusal](err); ok {
		return "the proxy " + proxy + " " + refusal.Error()
	}
	// The transport wraps errors of the connection to the proxy.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "proxyconnect" || strings.HasPrefix(op.Op, "socks")) {
		return "the proxy " + proxy + " cannot be reached: " + inner(op.Err)
	}
	text := "the server cannot be reached: " + inner(err)
	switch {
	case errors.Is(err, errProxyAddress):
		return errProxyAddress.Error()
	case handshake(err, "the server") != "":
		text = handshake(err, "the server")
	case connected && !dialing(err):
		text = broken(err)
	}
	if proxy != "" && !connected {
		text += " (through the proxy " + proxy + ")"
	}
	return text
}

// dialing reports whether an error is from dialing a connection.
func dialing(err error) bool {
	_, resolving := errors.AsType[*net.DNSError](err)
	op, ok := errors.AsType[*net.OpError](err)
	return resolving || ok && op.Op == "dial"
}

// inner says why dialing failed.
func inner(err error) string {
	if name, ok := errors.AsType[*net.DNSError](err); ok {
		return "the host name cannot be resolved: " + resolution(name)
	}
	if said := handshake(err, "it"); said != "" {
		return said
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return "no connection in time"
	}
	return broken(err)
}

func resolution(err *net.DNSError) string {
	if err.IsNotFound {
		return "no such host"
	}
	return "the name server does not respond"
}

// handshake says what failed in a TLS handshake; empty for another error.
func handshake(err error, who string) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return strings.Replace(who+"'s", "it's", "its", 1) + " certificate " + verification(err)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, http.ErrSchemeMismatch) {
		return who + " does not speak TLS: correct the scheme or the port"
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		alert := strings.TrimPrefix(Clean(op.Err.Error(), maxName), "tls: ")
		return who + " refuses the TLS connection (" + alert + "): check what it asks of its clients"
	}
	return ""
}

// verification says why a certificate is not trusted, and what to do.
func verification(err error) string {
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return "is for other names" + suchAs(name.Certificate) + ": correct the url, or have the certificate issued for its host"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "is signed by an unknown authority: add the authority to the CA bundle"
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case !ok:
	case invalid.Reason == x509.Expired && invalid.Cert != nil && invalid.Cert.NotBefore.After(time.Now()):
		return "is not valid yet: check the clock of this node, or wait"
	case invalid.Reason == x509.Expired && invalid.Cert != nil && invalid.Cert.IsCA:
		return "is of an authority whose own certificate has expired: renew that one"
	case invalid.Reason == x509.Expired:
		return "has expired: renew it"
	case invalid.Reason == x509.IncompatibleUsage:
		return "cannot be used (it is not for servers): replace it"
	case invalid.Reason == x509.CANotAuthorizedForThisName || invalid.Reason == x509.CANotAuthorizedForExtKeyUsage:
		return "cannot be used (its authority may not sign it): replace it"
	}
	return "cannot be used (" + Clean(strings.TrimPrefix(root(err).Error(), "x509: "), maxName) + "): replace it"
}

// suchAs quotes one name of a certificate.
func suchAs(certificate *x509.Certificate) string {
	switch {
	case certificate == nil:
		return ""
	case len(certificate.DNSNames) > 0:
		return fmt.Sprintf(", such as %q", Clean(certificate.DNSNames[0], maxName))
	case len(certificate.IPAddresses) > 0:
		return fmt.Sprintf(", such as %q", Clean(certificate.IPAddresses[0].String(), maxName))
	default:
		return " (it names no host)"
	}
}

// broken says how a connection ended.
func broken(err error) string {
	text := err.Error()
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return "the connection broke: " + errno.Error()
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server ended the connection"
	case strings.HasPrefix(text, "malformed HTTP"):
		return "the server does not speak HTTP"
	}
	return Clean(text, maxName)
}

// root returns the innermost wrapped error.
func root(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// overdue says what timed out, or that the request was canceled.
func overdue(ctx context.Context, proxy string, connected bool) string {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return "the request was canceled"
	case connected:
		return "no response in time"
	case proxy != "":
		return "the proxy " + proxy + " did not respond in time"
	default:
		return "no connection in time"
	}
}
