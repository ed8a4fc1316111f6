/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// What repeats a value may encode it, or something that the value is a part of.
func TestWords_ValuesInEachEncoding_AreHidden(t *testing.T) {
	inBase64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, value := range []string{"tok/n", "a+short/one", "<a&\"longer\\ one>?=", "eyJQcm9qZWN0SUQiOiIx.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"} {
		escaped, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		for how, form := range map[string]string{
			"plain": value, "with a line break": value + "\n", "JSON": strings.Trim(string(escaped), `"`),
			"query": url.QueryEscape(value), "path": url.PathEscape(value),
			"base64": inBase64(value), "for URLs": base64.URLEncoding.EncodeToString([]byte(value)), "base64 twice": inBase64(inBase64(value)),
			"after one": inBase64("x" + value + "x"), "after two": inBase64("xx" + value + "xx"), "after three": inBase64("xxx" + value),
			"in base64 that is in base64":        inBase64("xx" + inBase64("x"+value+"x") + "x"),
			"in base64 that is in base64, later": inBase64("x" + inBase64("xx"+value+"xx")),
			"after much else":                    strings.Repeat("x ", 8180) + value,
		} {
			for _, given := range []string{value, value + "\n"} {
				shown := cloud.Words(errors.New("denied: token="+form+" is a credential"), given)
				if !strings.HasPrefix(shown, "denied: token=") {
					t.Errorf("%q, %s: the words are %q", value, how, shown)
				}
				inner := form
				if len(form) > 16 { // Its ends may depend on what is around it.
					inner = form[4 : len(form)-4]
				}
				if strings.Contains(shown, inner) {
					t.Errorf("%q, %s: %q shows it", value, how, shown)
				}
			}
		}
	}
}

// A value that is in most texts, such as a token of a test, leaves them readable.
func TestWords_ShortValue_LeavesThemReadable(t *testing.T) {
	const said = "a policy denied the request"
	for _, value := range []string{"", " ", "e", "a", "de", "the", "deny", "\x00\x01\x02\x03\x04e"} {
		if shown := cloud.Words(errors.New(said), value); shown != said {
			t.Errorf("without %q it is %q", value, shown)
		}
	}
}

// However much there is to search, and to search for, that takes little, and shows nothing.
func TestWords_MuchToSearch_IsBounded(t *testing.T) {
	const value = "0123456789abcdefghijklmnopqrstuvwxyz"
	text := errors.New("denied: " + strings.Repeat(value+" ", 10_000) + value)
	if shown := cloud.Words(text, value); strings.Contains(shown, value[:8]) || len(shown) > 4096 || !strings.HasPrefix(shown, "denied: ") {
		t.Errorf("the words are %q", shown)
	}
	if shown := cloud.Words(text, strings.Repeat("x", 1<<20), value); shown != cloud.Redacted {
		t.Errorf("of more than is searched for, the words are %q", shown)
	}
}
