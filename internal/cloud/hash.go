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
)

// Hash tells values apart without showing them: 16 hexadecimal digits of the SHA-256 of their JSON.
func Hash(value any) string {
	raw, err := json.Marshal(value)
	if err != nil {
		return "" // Only values that came from JSON or are strings get here.
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}

// Canonical makes equal JSON objects equal; null and absent are the empty object.
func Canonical(raw json.RawMessage) map[string]any {
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
