/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// authority signs certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, change func(*x509.Certificate)) *authority {
	t.Helper()
	template := certificate("authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	template.ExtKeyUsage, template.IPAddresses = nil, nil
	if change != nil {
		change(template)
	}
	a := &authority{certificate: template}
	a.key = newKey(t)
	a.certificate = a.sign(t, template, &a.key.PublicKey)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
}

func (a *authority) sign(t *testing.T, template *x509.Certificate, public *ecdsa.PublicKey) *x509.Certificate {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// serve starts a fake with a certificate of the authority.
func (a *authority) serve(t *testing.T, template *x509.Certificate, change func(*tls.Config)) string {
	t.Helper()
	key := newKey(t)
	leaf := a.sign(t, template, &key.PublicKey)
	web := httptest.NewUnstartedServer(cloudtest.New(cloudtest.Settings{}))
	web.Config.ErrorLog = nil
	web.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}} //nolint:gosec // older versions too
	if change != nil {
		change(web.TLS)
	}
	web.StartTLS()
	t.Cleanup(web.Close)
	return web.URL
}

// fit checks what every text of a failure must be: short, in characters that show, and the same for each try.
func fit(t *testing.T, first, second error, words ...string) {
	t.Helper()
	text := first.Error()
	if second.Error() != text {
		t.Errorf("%q changes to %q", text, second.Error())
	}
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > 400 ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("unfit to be shown: %.600q", text)
	}
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q does not say %q", text, word)
		}
	}
	if clock := time.Now().Format("2006"); strings.Contains(text, clock+"-") {
		t.Errorf("%q contains the time", text)
	}
}

func twice(t *testing.T, c *cloud.Client) (first, second error) {
	t.Helper()
	_, first = c.Get(t.Context(), nilID)
	_, second = c.Get(t.Context(), nilID)
	for _, err := range []error{first, second} {
		if _, ok := cloud.AsError(err); !ok {
			t.Fatalf("the error is %v, want a *cloud.Error", err)
		}
	}
	return first, second
}

func TestCertificatesThatAreNotTrusted(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, nil)
	same := newAuthority(t, func(c *x509.Certificate) { c.Subject.CommonName = "\x1b[31m" + strings.Repeat("long ", 10000) })
	twin := newAuthority(t, func(c *x509.Certificate) { c.Subject.CommonName = same.certificate.Subject.CommonName })
	expired := newAuthority(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	bound := newAuthority(t, func(c *x509.Certificate) {
		c.PermittedDNSDomainsCritical, c.PermittedDNSDomains = true, []string{"elsewhere.test"}
		c.PermittedIPRanges = []*net.IPNet{{IP: net.IPv4(10, 0, 0, 0).To4(), Mask: net.CIDRMask(8, 32)}}
	})
	with := func(change func(*x509.Certificate)) *x509.Certificate {
		template := certificate("leaf")
		change(template)
		return template
	}
	many := make([]net.IP, 3000)
	for i := range many {
		many[i] = net.IPv4(10, 0, byte(i/256), byte(i))
	}
	for _, row := range []struct {
		name   string
		signer *authority
		trust  *authority
		leaf   *x509.Certificate
		words  []string
	}{
		{"expired", good, good, with(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }),
			[]string{"the server's certificate has expired: renew it"}},
		{"of an authority that expired", expired, expired, with(func(*x509.Certificate) {}),
			[]string{"the server's certificate is of an authority whose own certificate has expired"}},
		{"not yet valid", good, good, with(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }),
			[]string{"the server's certificate is not valid yet", "clock"}},
		{"of another name", good, good, with(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.test", "more.test"} }),
			[]string{`the server's certificate is for other names, such as "other.test"`, "correct the url"}},
		{"of another address", good, good, with(func(c *x509.Certificate) { c.IPAddresses = many }),
			[]string{`such as "10.0.0.0"`}},
		{"of a long name", good, good, with(func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{strings.Repeat("a.", 20000) + "test"}
		}), []string{"is for other names"}},
		{"of no name", good, good, with(func(c *x509.Certificate) { c.IPAddresses = nil }), []string{"names no host"}},
		{"of an unknown authority", good, expired, with(func(*x509.Certificate) {}),
			[]string{"signed by an unknown authority: add the authority to the CA bundle"}},
		{"of an authority of the same name", same, twin, with(func(*x509.Certificate) {}), []string{"signed by an unknown authority"}},
		{"for clients", good, good, with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }),
			[]string{"the server's certificate cannot be used", "replace it"}},
		{"of an authority for other names", bound, bound, with(func(*x509.Certificate) {}), []string{"the server's certificate cannot be used"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, row.signer.serve(t, row.leaf, nil), cloud.Config{CABundle: row.trust.pem()})
			first, second := twice(t, client)
			if e := failure(t, first); e.Reason != cloud.ReasonNetwork || e.Class != cloud.ClassRetryable || !e.NotSent {
				t.Errorf("%v: reason %s, class %s, not sent %t", first, e.Reason, e.Class, e.NotSent)
			}
			fit(t, first, second, row.words...)
		})
	}
}

func TestHandshakesThatFail(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, nil)
	plain := httptest.NewServer(cloudtest.New(cloudtest.Settings{}))
	defer plain.Close()
	for _, row := range []struct{ name, url, words string }{
		{"a server that asks for a certificate", good.serve(t, certificate("leaf"), func(c *tls.Config) {
			c.ClientAuth = tls.RequireAndVerifyClientCert
		}), "the server refuses the TLS connection (certificate required)"},
		{"a server that is too old", good.serve(t, certificate("leaf"), func(c *tls.Config) {
			c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}), "the server refuses the TLS connection (protocol version not supported)"},
		{"a server without TLS", "https" + strings.TrimPrefix(plain.URL, "http"), "the server does not speak TLS"},
	} {
		t.Run(row.name, func(t *testing.T) {
			first, second := twice(t, newClient(t, row.url, cloud.Config{CABundle: good.pem()}))
			fit(t, first, second, row.words)
		})
	}
}

func TestNetworkErrorsHaveTheSameTextEachTime(t *testing.T) {
	t.Parallel()
	failing := func(err error) *cloud.Client {
		return newClient(t, "http://127.0.0.1:1", cloud.Config{Wrap: func(http.RoundTripper) http.RoundTripper {
			return tripper(func(*http.Request) (*http.Response, error) { return nil, err })
		}})
	}
	closed := httptest.NewServer(nil)
	closed.Close()
	first, second := twice(t, newClient(t, closed.URL, cloud.Config{}))
	fit(t, first, second, "read agent: network: the server cannot be reached: connection refused (not sent)")
	ports := 40000
	for _, row := range []struct {
		name  string
		err   func() error
		words string
	}{
		{"a name", func() error {
			return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "x\x1b.test", IsNotFound: true}}
		}, "the host name cannot be resolved: no such host"},
		{"a name server", func() error {
			return &net.DNSError{Err: fmt.Sprintf("read udp 10.0.0.1:%d->10.0.0.2:53: i/o timeout", ports), Name: "x", Server: "10.0.0.2:53"}
		}, "the host name cannot be resolved: the name server does not respond"},
		{"an end", func() error { return io.EOF }, "the server ended the connection"},
		{"long words", func() error { return errors.New(strings.Repeat("\x1b[31m\u202e\u200bverylong", 5000)) }, "verylong"},
	} {
		t.Run(row.name, func(t *testing.T) {
			first, _ := twice(t, failing(row.err()))
			ports++
			second, _ := twice(t, failing(row.err()))
			fit(t, first, second, row.words)
		})
	}
}

func TestAProxyIsNamed(t *testing.T) {
	t.Parallel()
	good := newAuthority(t, nil)
	closed := httptest.NewServer(nil)
	closed.Close()
	says := func(status int) string {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(proxy.Close)
		return proxy.URL
	}
	raw := func(content string) string {
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
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, content)
				_ = conn.Close()
			}
		}()
		return "http://" + listener.Addr().String()
	}
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	for _, row := range []struct{ name, proxy, words string }{
		{"nobody listens", closed.URL, "cannot be reached: connection refused"},
		{"its name is not known", "http://proxy.invalid:3128", "the proxy proxy.invalid:3128 cannot be reached: the host name cannot be resolved"},
		{"its certificate is not trusted", newAuthority(t, nil).serve(t, certificate("leaf"), nil), "cannot be reached: its certificate is signed by an unknown"},
		{"it asks for credentials", says(407), "asks for credentials: put them into HTTPS_PROXY"},
		{"it forbids it", says(403), "refuses to connect (403)"},
		{"it fails", says(503), "refuses to connect (503)"},
		{"its status is long", raw("HTTP/1.1 403 \x1b[31m" + strings.Repeat("no ", 10000) + "\r\n\r\n"), "refuses to connect (403)"},
		{"it is none", raw("\x1b[31mSSH-2.0" + strings.Repeat("x", 10000) + "\r\n"), "the proxy "},
		{"it hangs up", raw(""), "the proxy "},
		{"it is silent", "http://" + mute.Addr().String(), "did not respond in time"},
		{"SOCKS", "socks5" + strings.TrimPrefix(closed.URL, "http"), "cannot be reached: connection refused"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			config := cloud.Config{CABundle: good.pem(), Proxy: func(*http.Request) (*url.URL, error) {
				proxy, err := url.Parse(row.proxy)
				if err == nil {
					proxy.User = url.UserPassword("somebody", "canary-password")
				}
				return proxy, err
			}}
			if row.name == "it is silent" {
				config.Timeout = short
			}
			client := newClient(t, good.serve(t, certificate("leaf"), nil), config)
			first, second := twice(t, client)
			if contains(first.Error(), "canary", "somebody") || !failure(t, first).NotSent {
				t.Errorf("%v", first)
			}
			host := row.proxy[strings.Index(row.proxy, "//")+2:]
			fit(t, first, second, "the proxy "+host, row.words)
		})
	}
	t.Run("it is no URL", func(t *testing.T) {
		client := newClient(t, closed.URL, cloud.Config{Proxy: func(*http.Request) (*url.URL, error) {
			return nil, errors.New(`invalid proxy address "http://somebody:canary-password@[": parse failed`)
		}})
		first, second := twice(t, client)
		if contains(first.Error(), "canary", "somebody") {
			t.Errorf("%v", first)
		}
		fit(t, first, second, "the address of the proxy is malformed: correct HTTPS_PROXY")
	})
}

func TestACallThatIsGivenUpSaysSo(t *testing.T) {
	t.Parallel()
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	server.Inject(cloudtest.Fault{Block: make(chan struct{})})
	_, err := newClient(t, web.URL, cloud.Config{Timeout: 50 * time.Millisecond}).Get(t.Context(), nilID)
	fit(t, err, err, "read agent: timeout: no response in time")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = newClient(t, web.URL, cloud.Config{}).Get(ctx, nilID)
	fit(t, err, err, "the request was canceled")
}

// Whatever is in it, the text of an error is fit to be shown.
func TestEveryErrorIsClean(t *testing.T) {
	odd := strings.Repeat("\x1b[31m\u202e\xffodd\n", 1000)
	for _, err := range []*cloud.Error{
		{Op: "read agent", Reason: cloud.ReasonNetwork, Err: errors.New(odd)},
		{Op: odd, Reason: cloud.Reason(odd), Message: odd, Detail: odd},
	} {
		text := err.Error()
		if !utf8.ValidString(text) || utf8.RuneCountInString(text) > 1201 ||
			strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("unfit to be shown: %.300q", text)
		}
	}
}
