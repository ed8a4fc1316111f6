/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// spellings are ways to write a text as JSON.
var spellings = []string{
	`""`, `null`, `"[INPUT]\n    Name tail\n"`, `"\"\\\b\f\n\r\t"`, `"a \/ b"`, `"\u0041"`, `"\u003c&\u003E"`, `"<&>"`, `"\u2028"`, "\"\u2028\u2029\"",
	`"ü ☃ 😀"`, `"\ud83d\ude00"`, `"\ud800"`, "\"\xff\"", "\"\x7f\"", `"\\u0041"`, `"\u0000\u001f"`, ` "spaces around" `,
}

// pageOfDigests reads a page by Digests.
func pageOfDigests(raw *RawPage) (*Page, error) {
	page := &Page{Before: raw.Before, Agents: []Agent{}}
	err := raw.Digests(func(a *Agent) error {
		page.Agents = append(page.Agents, *a)
		return nil
	})
	return page, err
}

func TestDigestsShowWhatPagesShow(t *testing.T) {
	agent := func(more string) string {
		return `{"id":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11","token":"t","name":"web","machineID":"m","type":"fluentbit","metadata":{"a":1}` + more + `}`
	}
	bodies := []string{`[]`, `null`, `{}`, `[1]`, "[" + agent("") + "," + agent(`,"metricsCount":"many","rawConfig":"<a>"`) + "]", `[{"rawConfig":1}]`}
	for _, text := range spellings {
		bodies = append(bodies, "["+agent(`,"rawConfig":`+text)+"]")
	}
	for _, body := range bodies {
		raw := func() *RawPage { return &RawPage{Before: "next", buffer: bytes.NewBufferString(body)} }
		want, wantErr := raw().Page()
		got, err := pageOfDigests(raw())
		if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("%s: error %v, want %v", body, err, wantErr)
		}
		if err != nil || wantErr != nil {
			continue
		}
		for i := range want.Agents {
			want.Agents[i].RawConfig, want.Agents[i].RawConfigHash = "", Hash(want.Agents[i].RawConfig)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(Token{})); diff != "" {
			t.Errorf("%s: -want +got:\n%s", body, diff)
		}
	}
}

func FuzzHashed(f *testing.F) {
	for _, text := range spellings {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var text string
		var got hashed
		err, wantErr := json.Unmarshal(raw, &got), json.Unmarshal(raw, &text)
		if (err == nil) != (wantErr == nil) || err == nil && string(got) != Hash(text) {
			t.Errorf("%q: %q and error %v, want %q and error %v", raw, got, err, Hash(text), wantErr)
		}
	})
}

// BenchmarkDigests is what a page of a list costs.
func BenchmarkDigests(b *testing.B) {
	one := `{"id":"8f6f2f0e-7d1c-4b52-9c6e-3a4f7f0f9d11","name":"web","machineID":"m","type":"fluentbit","createdAt":"2026-01-01T00:00:00Z",` +
		`"rawConfig":"` + strings.Repeat(`[INPUT]\n    name dummy\n`, 178) + `"}`
	body := []byte("[" + one + strings.Repeat(","+one, 99) + "]")
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		agents := 0
		err := digests(body, func(*Agent) error {
			agents++
			return nil
		})
		if err != nil || agents != 100 {
			b.Fatal(err)
		}
	}
}
