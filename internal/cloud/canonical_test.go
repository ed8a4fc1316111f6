/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

// decoded is what Canonical means, by decoding all values.
func decoded(raw []byte) []byte {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	_ = decoder.Decode(&value)
	text, _ := json.Marshal(plain(value))
	switch string(text) {
	case "null", "[]", `""`:
		return []byte("{}")
	}
	return text
}

func plain(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plain(v[key])
		}
	case []any:
		for i := range v {
			v[i] = plain(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil && f > -(1<<53) && f < 1<<53 {
			return f + 0
		}
	}
	return value
}

func FuzzCanonical(f *testing.F) {
	for _, body := range append(bodies(), `{"b":[{"d":1,"c":2.0}],"a":{"z":null,"y":[]}}`, `{"a":1,"a":2}`, `{"b":1,"a":[],"b":{}}`, `{"\u00fc<":"\/&"}`,
		`{"n":9007199254740993,"m":1e400,"l":-0,"k":1E2}`, `{"a":tru`, `{"a":1,}`, `{"a" 1}`, `{"a":[1 2]}`, `[{}]`, `"x"`) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			_ = Canonical(raw) // It is never asked for.
			return
		}
		if depth(raw) > mostDepth || bytes.Count(raw, []byte{','}) >= mostMembers {
			return
		}
		if got, want := Canonical(raw), decoded(raw); !bytes.Equal(got, want) {
			t.Errorf("%s became %s, want %s", raw, got, want)
		}
	})
}

func depth(raw []byte) int { return bytes.Count(raw, []byte{'{'}) + bytes.Count(raw, []byte{'['}) }

// Small values take many times their bytes once they are decoded.
func TestCanonical_SmallValues_TakeLittleMemory(t *testing.T) {
	for _, element := range []string{`{},`, `[],`, `{"b":{},"a":{}},`} {
		raw := []byte(`{"a":[` + strings.Repeat(element, 4<<20/len(element)) + `{}]}`)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		text := Canonical(raw)
		runtime.ReadMemStats(&after)
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 128 || string(text) == "{}" {
			t.Errorf("4 MiB of %s took %d MiB", element, took)
		}
	}
}

// Objects of any depth are compared, with a bounded cost.
func TestCanonical_DeepObjects_Differ(t *testing.T) {
	deep := func(depth int, inside string) json.RawMessage {
		return json.RawMessage(strings.Repeat(`{"b":0,"a":`, depth) + inside + strings.Repeat(`}`, depth))
	}
	for _, depth := range []int{1, mostDepth, mostDepth + 1, 9000} {
		one, same, other := Canonical(deep(depth, "1")), Canonical(deep(depth, "1")), Canonical(deep(depth, "2"))
		if !bytes.Equal(one, same) || bytes.Equal(one, other) || bytes.Equal(one, Canonical(nil)) || !json.Valid(one) {
			t.Errorf("depth %d: %.80s", depth, one)
		}
	}
}

// More members than can be declared are not kept, and differ from all that can be.
func TestCanonical_ManyMembers_DifferAndTakeLittleMemory(t *testing.T) {
	of := func(members int, last string) json.RawMessage {
		return json.RawMessage(`{` + strings.Repeat(`"":0,`, members-1) + `"a":` + last + `}`)
	}
	if got := string(Canonical(of(mostMembers, "1"))); got != `{"":0,"a":1}` {
		t.Errorf("what can be declared became %s", got)
	}
	if got := Canonical(of(mostMembers+1, "1")); got[0] == '{' {
		t.Errorf("one member more became %s", got)
	}
	one, other := of(100_000, "1"), of(100_000, "2")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	text := Canonical(one)
	runtime.ReadMemStats(&after)
	if !bytes.Equal(text, Canonical(one)) || bytes.Equal(text, Canonical(other)) || !json.Valid(text) {
		t.Errorf("100,000 members became %.80s", text)
	}
	if took := (after.TotalAlloc - before.TotalAlloc) >> 10; took > 128 {
		t.Errorf("100,000 members took %d KiB", took)
	}
}
