/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"sync"
	"unicode/utf8"
)

// Hash tells values apart without showing them: 16 hexadecimal digits of the SHA-256 of their JSON.
func Hash(value any) string {
	buffer := hashBuffers.Get().(*bytes.Buffer)
	defer hashBuffers.Put(buffer)
	buffer.Reset()
	if json.NewEncoder(buffer).Encode(value) != nil {
		return "" // Only values that came from JSON or are strings get here.
	}
	return digestOf(bytes.TrimSuffix(buffer.Bytes(), []byte("\n")))
}

func digestOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:8])
}

// hashed is the Hash of a text as it is read from JSON, mostly without the text itself: a list may have very many.
type hashed string

// UnmarshalJSON takes a string, or null for the empty one.
func (h *hashed) UnmarshalJSON(raw []byte) error {
	// Without \u and \/ a text has one spelling, but for the characters that HTMLEscape replaces as Hash does.
	if raw[0] == '"' && !bytes.Contains(raw, []byte(`\u`)) && !bytes.Contains(raw, []byte(`\/`)) && utf8.Valid(raw) {
		buffer := hashBuffers.Get().(*bytes.Buffer)
		defer hashBuffers.Put(buffer)
		buffer.Reset()
		json.HTMLEscape(buffer, raw)
		*h = hashed(digestOf(buffer.Bytes()))
		return nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	*h = hashed(Hash(text))
	return nil
}

// hashBuffers spare the collector what is written to be hashed: each configuration of a list, above all.
var hashBuffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}

// Canonical makes equal JSON objects equal; null and absent are the empty object.
func Canonical(raw json.RawMessage) map[string]any {
	if len(raw) == 0 {
		return map[string]any{}
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	object := map[string]any{}
	if decoder.Decode(&object) != nil || object == nil {
		return map[string]any{}
	}
	return plainNumbers(object).(map[string]any)
}

// plainNumbers makes 1, 1.0 and 1e0 equal, and leaves numbers as they are written that a float64 cannot hold.
func plainNumbers(value any) any {
	const exact = 1 << 53
	switch v := value.(type) {
	case map[string]any:
		for key := range v {
			v[key] = plainNumbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil && f > -exact && f < exact {
			return f
		}
	}
	return value
}
