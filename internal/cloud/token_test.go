/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const secret = "s3cret-token-value"

// hidden reports a secret in a text, in plain, quoted, hexadecimal or decimal.
func hidden(t *testing.T, how, text string) {
	t.Helper()
	decimal := strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")
	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), decimal} {
		if strings.Contains(text, form) {
			t.Errorf("%s shows the token: %s", how, text)
		}
	}
}

func TestTokensAreNeverPrinted(t *testing.T) {
	token := cloud.NewToken(secret)
	type exported struct{ Token cloud.Token }
	type unexported struct{ token cloud.Token }
	values := map[string]any{
		"token": token, "pointer": &token, "credential": cloud.Credential{Scheme: cloud.SchemeBearer, Token: token},
		"exported field": exported{token}, "unexported field": unexported{token}, "pointer to it": &unexported{token},
		"slice": []cloud.Token{token}, "map": map[string]cloud.Token{"a": token}, "key": map[cloud.Token]int{token: 1},
		"registered": &cloud.Registered{Token: token}, "agent": cloud.Agent{Token: token},
		"config": cloud.Config{Credential: cloud.Credential{Token: token}},
	}
	for name, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%T", "%p", "%w"} {
			hidden(t, name+" "+verb, fmt.Sprintf(verb, value))
		}
		if encoded, err := json.Marshal(value); err == nil {
			hidden(t, name+" as JSON", string(encoded))
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var log bytes.Buffer
			slog.New(handler(&log)).Info("test", "value", value)
			hidden(t, name+" in a log", log.String())
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, token); got != "[redacted]" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
}

func TestEchoedTokensAreHidden(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	parts := base64.RawURLEncoding.EncodeToString([]byte(`{"ProjectID":"`+projectID+`"}`)) + ".c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
	payload, signature, _ := strings.Cut(parts, ".")
	client := newClient(t, web.URL, cloud.Config{Credential: cloud.Credential{Scheme: cloud.SchemeBearer, Token: cloud.NewToken(parts)}}).
		WithCredential(cloud.Credential{Scheme: cloud.SchemeAgentToken, Token: cloud.NewToken(secret)})
	for name, message := range map[string]string{
		"whole":                    "token " + secret + " and " + parts + " are bad",
		"in parts":                 "payload " + payload + " with signature " + signature,
		"with a control character": "token " + secret[:5] + "\x00" + secret[5:] + parts[:9] + "\u200b" + parts[9:],
		"at the end of the bound":  strings.Repeat("x", 505) + secret + parts,
		"many times":               strings.Repeat(secret+parts, 1000),
	} {
		t.Run(name, func(t *testing.T) {
			body, err := json.Marshal(map[string]any{"error": message, "detail": message})
			if err != nil {
				t.Fatal(err)
			}
			server.Inject(cloudtest.Fault{Status: 401, Body: string(body), Times: 1})
			_, err = client.Get(t.Context(), nilID)
			failed := failure(t, err)
			for _, text := range []string{err.Error(), failed.Message, failed.Detail, fmt.Sprintf("%+v %#v", failed, failed)} {
				if contains(text, secret, payload, signature, secret[:5]) {
					t.Errorf("shown: %s", text)
				}
			}
			if size := len(failed.Message) + len(failed.Detail); size == 0 || size > 512 {
				t.Errorf("the API's words have %d bytes", size)
			}
		})
	}
}

func TestRemoteWordsFitOneLine(t *testing.T) {
	server := cloudtest.New(cloudtest.Settings{})
	web := server.Start()
	defer web.Close()
	odd := `a\r\nb\u001b[31m\u202ec\u0085\ud800 ` + strings.Repeat("é", 600)
	server.Inject(cloudtest.Fault{Status: 400, Body: `{"error":"` + odd + `","detail":7}`})
	_, err := newClient(t, web.URL, cloud.Config{}).Get(t.Context(), nilID)
	failed := failure(t, err)
	if want := "a  b[31mc\uFFFD " + strings.Repeat("é", 249); failed.Message != want || failed.Detail != "" {
		t.Errorf("message %q of %d bytes", failed.Message, len(failed.Message))
	}
}

func TestUsableTokens(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "redacted": false, "[REDACTED]": false, "Masked": false, "hidden": false, "<hidden>": false,
		"****": false, "xxxxxxxx": false, "XXXX-XXXX": false, "••••": false, "...": false, "-": false,
		"[FILTERED]": false, "<secret>": false, "***REMOVED***": false, "(none)": false,
		"a b": false, "a\u200bb": false, "\ufeffa": false, "abc\n": false, "abc\x00": false, "a\u00a0b": false,
		"a": true, secret: true, "xx9": true, "redacted-not": true, "eyJ.sig": true,
	} {
		if got := cloud.NewToken(value).Usable(); got != want {
			t.Errorf("Usable of %q is %t", value, got)
		}
	}
}

func TestTokensAreReadAsTheyWerePasted(t *testing.T) {
	for _, row := range []struct{ name, raw, want, err string }{
		{"as it is", secret, secret, ""},
		{"a line break after it", secret + "\n", secret, ""},
		{"one of Windows", secret + "\r\n", secret, ""},
		{"spaces around it", " \t" + secret + "  ", secret, ""},
		{"a byte order mark", "\ufeff" + secret, secret, ""},
		{"a byte order mark before spaces", "\ufeff \ufeff" + secret, secret, ""},
		{"a zero-width space after it", secret + "\u200b\n", secret, ""},
		{"direction marks around it", "\u202a" + secret + "\u202c", secret, ""},
		{"a NUL after it", secret + "\x00", secret, ""},
		{"nothing", "", "", ""},
		{"nothing that shows", " \ufeff\u200b\n", "", ""},
		{"a mask", "********", "********", ""},
		{"other characters", "tökén-válue", "tökén-válue", ""},
		{"a zero-width space inside", "s3cret-\u200bvalue", "", "the token holds an invisible character (U+200B): store it again without that"},
		{"a byte order mark inside", "s3cret\ufeffvalue", "", "the token holds an invisible character (U+FEFF): store it again without that"},
		{"a soft hyphen inside", "s3cret\u00advalue", "", "the token holds an invisible character (U+00AD): store it again without that"},
		{"a control character inside", "s3cret\x07value", "", "the token holds an invisible character (U+0007): store it again without that"},
		{"two lines", "s3cret\nvalue", "", "the token holds a space or a line break: store the token alone, in one line"},
		{"a space inside", "s3cret value", "", "the token holds a space or a line break: store the token alone, in one line"},
		{"a space that does not break", "s3cret\u00a0value", "", "the token holds a space or a line break: store the token alone, in one line"},
		{"UTF-16", "\xff\xfes\x003\x00c\x00", "", "the token is not UTF-8 text: store it as plain text"},
		{"bytes", "s3cret\xffvalue", "", "the token is not UTF-8 text: store it as plain text"},
	} {
		t.Run(row.name, func(t *testing.T) {
			token, err := cloud.TrimToken([]byte(row.raw))
			if token.Reveal() != row.want {
				t.Errorf("got %q", token.Reveal())
			}
			if (err == nil) != (row.err == "") || err != nil && err.Error() != row.err {
				t.Errorf("got %v, want %s", err, row.err)
			}
		})
	}
}

func TestTokenIdentity(t *testing.T) {
	a, same, other := cloud.NewToken(secret), cloud.NewToken(strings.Clone(secret)), cloud.NewToken("other")
	if !a.Equal(same) || a != same || a.Equal(other) || a.Equal(cloud.Token{}) || a.Reveal() != secret {
		t.Error("tokens are not equal by value")
	}
	if empty := cloud.NewToken(""); !empty.IsZero() || empty != (cloud.Token{}) || empty.Reveal() != "" || a.IsZero() {
		t.Error("the empty token is not the zero token")
	}
	for raw, want := range map[string]string{`"` + secret + `"`: secret, `null`: "", `""`: ""} {
		var got cloud.Token
		if err := json.Unmarshal([]byte(raw), &got); err != nil || got.Reveal() != want {
			t.Errorf("%s reads as %q, %v", raw, got.Reveal(), err)
		}
	}
	var got cloud.Token
	if err := json.Unmarshal([]byte(`{"v":"`+secret+`"}`), &got); err == nil {
		t.Error("an object is read as a token")
	} else {
		hidden(t, "the error", err.Error())
	}
}

func TestProjectIDOfAToken(t *testing.T) {
	encoded := func(claims string) string { return base64.RawURLEncoding.EncodeToString([]byte(claims)) }
	claims := `{"ProjectID":"` + projectID + `"}`
	for name, row := range map[string]struct {
		token string
		want  bool
	}{
		"the documented form":      {encoded(claims) + ".signature", true},
		"with padding":             {base64.URLEncoding.EncodeToString([]byte(claims+" ")) + ".signature", true},
		"further claims":           {encoded(`{"a":1,"ProjectID":"`+projectID+`"}`) + ".signature", true},
		"no signature":             {encoded(claims), false},
		"no base64":                {"{}.signature", false},
		"no JSON":                  {encoded("claims") + ".signature", false},
		"no project":               {encoded(`{"alg":"none"}`) + "." + encoded(claims) + ".signature", false},
		"a project that's no UUID": {encoded(`{"ProjectID":"7"}`) + ".signature", false},
		"a UUID in braces":         {encoded(`{"ProjectID":"{`+projectID+`}"}`) + ".signature", false},
		"nothing":                  {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := cloud.NewToken(row.token).ProjectID()
			if ok != row.want || (ok && got != projectID) {
				t.Errorf("got %q, %t", got, ok)
			}
		})
	}
}

func TestATokenIsTakenOutOfAText(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 2)
	for _, row := range []struct{ token, text, want string }{
		{long, "before " + long + " after", "before [redacted] after"},
		{long, "cut " + long[:20], "cut [redacted]"},
		{long, "twice " + long + long[:16] + "!", "twice [redacted]!"},
		{long, "too short " + long[:15], "too short " + long[:15]},
		{"header." + long, "its part " + long, "its part [redacted]"},
		// A mask contains these itself.
		{"e", "here", "h[redacted]r[redacted]"},
		{"act", "an act", "an [redacted]"},
		{"[redacted]", "of [redacted]", "of [redacted]"},
		{"redacted", "of [redacted]", "of [redacted]"},
		{"", "nothing", "nothing"},
	} {
		if got := cloud.Redact(row.text, cloud.NewToken(row.token)); got != row.want {
			t.Errorf("%q without %q is %q, want %q", row.text, row.token, got, row.want)
		}
	}
}

// A token that is masked in part must not replace the whole in a Secret.
func TestTokensThatReadsShowInPart(t *testing.T) {
	for shown, want := range map[string]string{
		secret: secret, "4d1c8a2e-7d1c-4b52-9c6e-3a4f7f0f9d11": "4d1c8a2e-7d1c-4b52-9c6e-3a4f7f0f9d11", "7|a_b--c.d~e+f/g==": "7|a_b--c.d~e+f/g==",
		"********1a2b": "", "NWIy****": "", "••••1a2b": "", "NWIy...1a2b": "", "NWIy…": "", "xxxxxxxx1a2b": "", "sk---------1a2b": "",
	} {
		var agent cloud.Agent
		if err := json.Unmarshal([]byte(`{"token":"`+shown+`"}`), &agent); err != nil || agent.Token.Reveal() != want {
			t.Errorf("of %q: %q, %v", shown, agent.Token.Reveal(), err)
		}
	}
}
