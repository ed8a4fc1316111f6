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

// Hash distinguishes values without showing them: 16 hexadecimal digits of the SHA-256 of their JSON.
func Hash(value any) string {
	buffer := hashBuffers.Get().(*bytes.Buffer)
	defer hashBuffers.Put(buffer)
	buffer.Reset()
	if json.NewEncoder(buffer).Encode(value) != nil {
		return "" // Unreachable for strings, and for values that came from JSON.
	}
	return digestOf(bytes.TrimSuffix(buffer.Bytes(), []byte("\n")))
}

func digestOf(encoded []byte) string {
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:8])
}

// hashed is the Hash of a text, computed while the JSON is read, mostly without a copy of the text.
type hashed string

// UnmarshalJSON reads a string, or null as the empty string.
func (h *hashed) UnmarshalJSON(raw []byte) error {
	// Without \u and \/ a text has one encoding, except for the characters that HTMLEscape replaces as Hash does.
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

// hashBuffers save allocations for the configurations of a list.
var hashBuffers = sync.Pool{New: func() any { return &bytes.Buffer{} }}
