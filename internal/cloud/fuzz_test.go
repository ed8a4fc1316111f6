/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

const fuzzedToken = "secret-token-of-the-project"

// fuzzedClient hides a token.
func fuzzedClient() *Client {
	return new(Client).WithCredential(Credential{Token: NewToken(fuzzedToken)})
}

// shows checks a text that goes into conditions, events and logs.
func shows(t *testing.T, text string, limit int) {
	t.Helper()
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > limit || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("unfit to be shown: %q", text)
	}
	if strings.Contains(text, fuzzedToken) {
		t.Errorf("shows the token: %q", text)
	}
}

// bodies are seeds: responses of the API, of frameworks and of attackers.
func bodies() []string {
	const id = "3F0D5A4E-9F0C-4F39-8F3B-1A3A53A9A001"
	return []string{
		"", "null", "[]", "{}", " ", `{"error":"agent not found"}`, `{"error":"not found"}`, `{"error":"quota","quotaLimit":1e99,"detail":{}}`,
		`{"id":"` + id + `","token":"t","flags":[null],"metricsCount":-1,"fleetID":"` + id + `"}`, `[{"id":"` + id + `","machineID":"m","type":"fluentbit","createdAt":0}]`,
		`[{"id":"` + id + `","type":"fluentd","fleetID":"` + id + `","rawConfig":"\u003c"},{"id":"` + strings.ToLower(id) + `","machineID":"m","metricsCount":"many"}]`,
		`{"error":"agent ` + id + ` not found"}`, `{"error":"` + strings.Repeat("\u202e", 400) + fuzzedToken + `"}`, "<html>",
		`{"timestamp":1,"path":"/v1/agents","status":404,"error":"Not Found"}`, `{"statusCode":404,"message":"x","error":"Not Found"}`,
		`{"type":"about:blank","title":"Not Found","status":404}`, `{"error":"x","error_description":"y"}`, `{"error":"\u001b[31m\n` + fuzzedToken + `"}`,
		`{"a":{"error":"x"},"error":"y"`, `{"error":"host not found"}`,
	}
}

func FuzzRefusals(f *testing.F) {
	for _, body := range bodies() {
		f.Add(0, 404, []byte(body), "120")
		f.Add(3, 403, []byte(body), "")
	}
	for op, status := range []int{302, 400, 409, 410, 413, 423, 429, 499, 502, 503} {
		f.Add(op, status, []byte(`{"error":"agent gone"}`), "")
		f.Add(op, status, []byte("<html>"), "")
	}
	f.Fuzz(func(t *testing.T, op, status int, body []byte, wait string) {
		call := fuzzedCalls[uint(op)%uint(len(fuzzedCalls))]
		e := fuzzedClient().refused(call, &response{status: status, body: body, header: http.Header{"Retry-After": {wait}}})
		if len(e.Message)+len(e.Detail) > maxRemoteWords {
			t.Errorf("words out of bounds: %q %q", e.Message, e.Detail)
		}
		shows(t, e.Message, maxRemoteWords)
		shows(t, e.Detail, maxRemoteWords)
		shows(t, e.Error(), maxErrorText+1)
		if e.Class == "" || e.Reason == "" || e.NotSent || e.RetryAfter < 0 || e.RetryAfter > maxRetryAfter {
			t.Errorf("unclassified: %+v", *e)
		}
		var object map[string]any
		if e.API && (json.Unmarshal(body, &object) != nil || object["status"] != nil || object["path"] != nil || byGateway(status)) {
			t.Errorf("taken for the API's own: %d %q", status, body)
		}
		if (IsGone(e) || MaybeGone(e) || e.NothingMade()) && (!e.API || status < 400 || status > 499) || IsGone(e) && MaybeGone(e) {
			t.Errorf("claims too much: %+v", *e)
		}
		if e.Reason == ReasonConflict && call.op != opRegister || e.Reason == ReasonContentRefused && call.body == nil {
			t.Errorf("%s: %s", call.op, e.Reason)
		}
	})
}

// fuzzedCalls are the calls that can be refused.
var fuzzedCalls = []call{
	{op: opGet, path: []string{"agents", "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"}},
	{op: opDelete, path: []string{"agents", "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"}},
	{op: opUpdate, path: []string{"agents", "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"}, body: Update{}},
	{op: opRegister, path: []string{"agents"}, body: Registration{}},
	{op: opList, path: []string{"projects", "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001", "agents"}},
}

// normal checks the IDs of an agent that was read.
func normal(t *testing.T, a *Agent) {
	t.Helper()
	if isUUID(a.ID) && a.ID != strings.ToLower(a.ID) || a.FleetID != nil && *a.FleetID != NormalID(*a.FleetID) {
		t.Errorf("not normalized: %s of %v", a.ID, a.FleetID)
	}
}

func FuzzAgents(f *testing.F) {
	for _, body := range bodies() {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var agent Agent
		if json.Unmarshal(body, &agent) == nil {
			normal(t, &agent)
			if _, err := json.Marshal(agent); err != nil && len(agent.Metadata) == 0 && validYears(agent) {
				t.Errorf("cannot be written again: %v", err)
			}
		}
		var registered Registered
		if json.Unmarshal(body, &registered) == nil && registered.ID != NormalID(registered.ID) {
			t.Errorf("not normalized: %s", registered.ID)
		}
	})
}

func FuzzPages(f *testing.F) {
	for _, body := range bodies() {
		f.Add([]byte(body), `</a?before=b>; rel="next"`)
		f.Add([]byte(body), "")
	}
	f.Fuzz(func(t *testing.T, body []byte, link string) {
		a := &response{status: http.StatusOK, body: body, header: http.Header{"Link": {link}}}
		var pages []*Page
		for _, read := range []func(*RawPage) (*Page, error){(*RawPage).Page, pageOfDigests} {
			raw := RawPage{buffer: bytes.NewBuffer(bytes.Clone(body))}
			if err := raw.take(a, ""); err != nil {
				shows(t, err.Error(), maxErrorText)
				return
			}
			page, err := read(&raw)
			if err != nil {
				shows(t, err.Error(), maxErrorText)
				continue
			}
			for i := range page.Agents {
				if normal(t, &page.Agents[i]); !isUUID(page.Agents[i].ID) {
					t.Errorf("accepted the ID %q", page.Agents[i].ID)
				}
			}
			pages = append(pages, page)
		}
		if len(pages) == 1 || len(pages) == 2 && len(pages[0].Agents) != len(pages[1].Agents) {
			t.Errorf("the two ways to read it differ: %q", body)
		}
	})
}

func FuzzDone(f *testing.F) {
	for _, body := range bodies() {
		f.Add(200, []byte(body), false, "application/json")
		f.Add(202, []byte(body), true, "text/html")
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, short bool, kind string) {
		a := &response{status: status, body: body, header: http.Header{"Content-Type": {kind}}}
		if short {
			a.err = ErrTooLarge
		}
		trimmed := bytes.TrimSpace(body)
		if acceptDone(a) == nil && status != http.StatusNoContent && len(trimmed) > 0 && trimmed[0] == '<' {
			t.Errorf("a portal is believed: %q", body)
		}
	})
}

func FuzzClean(f *testing.F) {
	for _, text := range []string{"", "a\nb", "\x1b[31m", "\u202e\u200b\ufeff", "\xff\xfe", strings.Repeat("é", 200), "a\u2028b", "\U000e0041", " … "} {
		f.Add(text, 10)
		f.Add(text, 0)
	}
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 0), 1<<16)
		got := Clean(text, limit)
		if shows(t, strings.ReplaceAll(got, fuzzedToken, ""), limit+1); Clean(got, limit) != got {
			t.Errorf("%q becomes %q when it is cleaned again", got, Clean(got, limit))
		}
	})
}

// FuzzCertificates has certificates of any content fail in every way.
func FuzzCertificates(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"plain.test", "\x1b[31m\n", strings.Repeat("long.", 5000) + "test"} {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Unix(0, 0), NotBefore: time.Unix(0, 0),
		}
		template.Subject.CommonName = name
		raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			f.Logf("%.20q: %v", name, err) // No such name can be in a certificate.
			continue
		}
		f.Add(raw, "words")
	}
	f.Add([]byte{}, "\x1b[31m\u202e"+strings.Repeat("x", 5000))
	f.Add([]byte{}, "stream error: stream ID 7; CANCEL; received from peer")
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		errs := []error{
			errors.New(text), &net.DNSError{Err: text, Name: text, Server: text}, &net.OpError{Op: "remote error", Err: errors.New(text)},
			&net.OpError{Op: "proxyconnect", Err: errors.New(text)}, x509.CertificateInvalidError{Reason: x509.Expired, Detail: text},
			tls.RecordHeaderError{Msg: text},
		}
		if certificate, err := x509.ParseCertificate(raw); err == nil {
			errs = append(errs, x509.HostnameError{Certificate: certificate, Host: text}, x509.UnknownAuthorityError{Cert: certificate})
			for reason := x509.NotAuthorizedToSign; reason < 12; reason++ {
				errs = append(errs, x509.CertificateInvalidError{Cert: certificate, Reason: reason, Detail: text})
			}
		} else {
			errs = append(errs, err)
		}
		for _, err := range errs {
			for _, err := range []error{err, &tls.CertificateVerificationError{Err: err}, fmt.Errorf("wrapped: %w", err)} {
				for _, connected := range []bool{false, true} {
					words := fuzzedClient().secrets.clean(unreached(err, "proxy.test:3128", connected), maxRemoteWords)
					shows(t, words, 1000)
				}
			}
		}
	})
}

func FuzzTrimToken(f *testing.F) {
	for _, raw := range []string{"", "token", " token\r\n", "\ufefftoken\u200b", "to\u200bken", "to ken", "\xff\xfet\x00", "********", "a.b"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		token, err := TrimToken(raw)
		if err != nil {
			if shows(t, err.Error(), 200); !token.IsZero() || len(raw) > 8 && strings.Contains(err.Error(), string(raw)) {
				t.Errorf("%q gives an error and more: %v", raw, err)
			}
			return
		}
		if !token.IsZero() && !token.Usable() && !token.masked() {
			t.Errorf("%q is neither usable nor a mask", raw)
		}
		if again, err := TrimToken([]byte(token.Reveal())); err != nil || again != token {
			t.Errorf("%q is not stable", raw)
		}
		if name, value, err := (Credential{Scheme: SchemeProjectToken, Token: token}).header(); err == nil &&
			(name == "" || strings.ContainsAny(value, "\r\n\x00")) {
			t.Errorf("%q would break a header", raw)
		}
	})
}

// validYears leaves out times that JSON cannot carry.
func validYears(a Agent) bool {
	times := []time.Time{a.CreatedAt, a.UpdatedAt}
	for _, p := range []*time.Time{a.FirstMetricsAddedAt, a.LastMetricsAddedAt} {
		if p != nil {
			times = append(times, *p)
		}
	}
	for _, at := range times {
		if _, err := at.MarshalJSON(); err != nil {
			return false
		}
	}
	return true
}

func FuzzNextCursor(f *testing.F) {
	for _, seed := range []string{
		`</v1/projects/P/agents?before=abc>; rel="next"`, `<?before=%zz>; rel=next`, `<`, `<>;`, `<>;rel="\`, `<a>;rel=next,,`, `,`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		cursor, err := nextCursor([]string{header})
		if len(cursor) > maxCursor || (err != nil && cursor != "") {
			t.Errorf("%q gives %q, %v", header, cursor, err)
		}
		if cursor == "" {
			return
		}
		again, err := nextCursor([]string{`<?` + url.Values{"before": {cursor}}.Encode() + `>; rel="next"`})
		if err != nil || again != cursor {
			t.Errorf("%q comes back as %q, %v", cursor, again, err)
		}
	})
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "0", "120", "-1", "1e9", "99999999999999999999", "Mon, 04 May 2026 03:03:01 GMT", "٣"} {
		f.Add(seed, int64(0))
	}
	f.Fuzz(func(t *testing.T, value string, now int64) {
		if got := retryAfter(value, time.Unix(now, 0)); got < 0 || got > maxRetryAfter {
			t.Errorf("%q gives %s", value, got)
		}
	})
}

func FuzzParseURL(f *testing.F) {
	for _, seed := range []string{
		"https://a.test", "https://a.test:8443/p/", "https://x.b.test", "https://u:p@a.test", "https://a.test/../", "http://[::1%25eth0]",
		"https://a.test\\@evil.test", "https://evil.test/.b.test", "//a.test", "https://a.test%00.b.test", "https://a.test/!0",
	} {
		f.Add(seed)
	}
	policy := URLPolicy{AllowedHosts: []string{"a.test", ".b.test"}}
	f.Fuzz(func(t *testing.T, raw string) {
		parsed, err := ParseURL(raw, policy)
		if err != nil {
			return
		}
		host := parsed.Hostname()
		if host != "a.test" && !strings.HasSuffix(host, ".b.test") {
			t.Errorf("%q leads to %q", raw, host)
		}
		if parsed.Scheme != "https" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
			t.Errorf("%q gives %s", raw, parsed)
		}
		again, err := ParseURL(parsed.String(), policy)
		if err != nil || again.String() != parsed.String() {
			t.Errorf("%q is not stable: %v, %v", raw, again, err)
		}
	})
}

func FuzzTokenProjectID(f *testing.F) {
	for _, seed := range []string{
		"", ".", "e30.s", "eyJQcm9qZWN0SUQiOiI3In0.s", "eyJQcm9qZWN0SUQiOm51bGx9.s",
		"eyJQcm9qZWN0SUQiOiIzRjBENUE0RS05RjBDLTRGMzktOEYzQi0xQTNBNTNBOUEwMDEifQ.s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token := NewToken(value)
		if id, ok := token.ProjectID(); ok != isUUID(id) || id != strings.ToLower(id) {
			t.Errorf("%q gives %q, %t", value, id, ok)
		}
		_ = token.Usable()
		if token.Reveal() != value || token.String() != Redacted {
			t.Errorf("%q is not kept", value)
		}
	})
}
