/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzAnswers(f *testing.F) {
	const id = "3f0d5a4e-9f0c-4f39-8f3b-1a3a53a9a001"
	for _, seed := range []string{
		"", "null", "[]", "{}", `{"error":"agent not found"}`, `{"error":"quota","quotaLimit":1e99,"detail":{}}`,
		`{"id":"` + id + `","token":"t","flags":[null],"metricsCount":-1}`, `[{"id":"` + id + `","createdAt":0}]`,
		`{"error":"` + strings.Repeat("\u202e", 400) + `secret-token"}`, "<html>",
	} {
		f.Add(200, []byte(seed), "120", `</a?before=b>; rel="next"`)
		f.Add(404, []byte(seed), "", "")
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, wait, link string) {
		c := (&Client{now: time.Now}).WithCredential(Credential{Token: NewToken("secret-token")})
		a := &answer{status: status, body: body, header: http.Header{"Retry-After": {wait}, "Link": {link}}}
		e := c.refused(call{op: opGet}, a)
		if len(e.Message)+len(e.Detail) > maxRemoteWords || !utf8.ValidString(e.Message) || !utf8.ValidString(e.Detail) {
			t.Errorf("words out of bounds: %q %q", e.Message, e.Detail)
		}
		if text := e.Error(); strings.ContainsAny(text, "\r\n\x00") || strings.Contains(text, "secret-token") {
			t.Errorf("unfit to be shown: %q", text)
		}
		if e.Class == "" || e.Reason == "" || (IsGone(e) && !e.API) {
			t.Errorf("unclassified: %+v", *e)
		}
		for _, read := range []func(*RawPage) (*Page, error){(*RawPage).Page, (*RawPage).Digests} {
			raw := RawPage{buffer: bytes.NewBuffer(bytes.Clone(body))}
			if raw.take(a, "") != nil {
				break
			}
			if page, err := read(&raw); err == nil {
				for _, agent := range page.Agents {
					if !isUUID(agent.ID) {
						t.Errorf("accepted the ID %q", agent.ID)
					}
				}
			}
		}
		var agent Agent
		if json.Unmarshal(body, &agent) == nil {
			if _, err := json.Marshal(agent); err != nil && len(agent.Metadata) == 0 && validYears(agent) {
				t.Errorf("cannot be written again: %v", err)
			}
		}
		_ = json.Unmarshal(body, &Registered{})
		_ = acceptDone(a)
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
		"https://a.test\\@evil.test", "https://evil.test/.b.test", "//a.test", "https://a.test%00.b.test",
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
	for _, seed := range []string{"", ".", "e30.s", "eyJQcm9qZWN0SUQiOiI3In0.s", "eyJQcm9qZWN0SUQiOm51bGx9.s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		token := NewToken(value)
		if id, ok := token.ProjectID(); ok != isUUID(id) {
			t.Errorf("%q gives %q, %t", value, id, ok)
		}
		_ = token.Usable()
		if token.Reveal() != value || token.String() != Redacted {
			t.Errorf("%q is not kept", value)
		}
	})
}
