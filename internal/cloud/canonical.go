/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// Canonical normalizes a JSON object for comparison: sorted keys, no white space, one spelling of each text and number. Null,
// absent, [] and "" are the empty object. Of an object longer than mostMetadata only the digest is returned. The values are never all
// decoded, which would take up to a hundred times the memory of their bytes.
func Canonical(raw json.RawMessage) json.RawMessage {
	c := &canonical{decoder: json.NewDecoder(bytes.NewReader(raw))}
	c.decoder.UseNumber()
	switch err := c.value(0); {
	case errors.Is(err, errBeyond):
		return json.RawMessage(`"` + digestOf(raw) + `"`) // It differs from each object, and equals itself.
	case err != nil:
		return json.RawMessage(`{}`)
	}
	if len(c.text) > mostMetadata {
		return json.RawMessage(`"` + digestOf(c.text) + `"`)
	}
	switch text := string(c.text); text {
	case `null`, `[]`, `""`:
		return json.RawMessage(`{}`)
	}
	return c.text
}

const (
	// mostDepth bounds the depth of objects: each level with unsorted keys is copied.
	mostDepth = 100
	// mostMembers is how many members metadata can be declared with, and mostNestedMembers how many members its values may have together.
	// Each takes many times its bytes.
	mostMembers       = 256
	mostNestedMembers = 1 << 16
)

var errBeyond = errors.New("the object is too deep, or has too many members")

// canonical writes what its decoder reads.
type canonical struct {
	decoder *json.Decoder
	text    []byte
	members int // of all objects
}

func (c *canonical) value(depth int) error {
	token, err := c.decoder.Token()
	if err != nil {
		return err
	}
	switch {
	case depth > mostDepth:
		return errBeyond
	case token == json.Delim('{'):
		return c.object(depth)
	case token == json.Delim('['):
		return c.array(depth)
	}
	return c.scalar(token)
}

func (c *canonical) scalar(value any) error {
	const exact = 1 << 53
	if number, ok := value.(json.Number); ok {
		// 1, 1.0 and 1e0 are equal. Numbers that a float64 cannot hold keep their text.
		if f, err := number.Float64(); err == nil && f > -exact && f < exact {
			value = f + 0 // Negative zero is zero.
		}
	}
	text, err := json.Marshal(value)
	c.text = append(c.text, text...)
	return err
}

func (c *canonical) array(depth int) error {
	c.text = append(c.text, '[')
	for first := true; c.decoder.More(); first = false {
		if !first {
			c.text = append(c.text, ',')
		}
		if err := c.value(depth + 1); err != nil {
			return err
		}
	}
	c.text = append(c.text, ']')
	_, err := c.decoder.Token()
	return err
}

// member is a key and the part of the text with its key and value.
type member struct {
	key      string
	from, to int
}

func (c *canonical) object(depth int) error {
	c.text = append(c.text, '{')
	start, sorted := len(c.text), true
	var members []member
	for c.decoder.More() {
		token, err := c.decoder.Token()
		if err != nil {
			return err
		}
		n := len(members)
		if c.members++; depth == 0 && n == mostMembers || c.members > mostNestedMembers {
			return errBeyond
		}
		m := member{key: token.(string)}
		if n > 0 {
			sorted = sorted && members[n-1].key < m.key
			c.text = append(c.text, ',')
		}
		m.from = len(c.text)
		if err := c.scalar(token); err != nil {
			return err
		}
		c.text = append(c.text, ':')
		if err := c.value(depth + 1); err != nil {
			return err
		}
		m.to = len(c.text)
		members = append(members, m)
	}
	if !sorted {
		c.sort(start, members)
	}
	c.text = append(c.text, '}')
	_, err := c.decoder.Token()
	return err
}

// sort orders the members of an object by their keys. Of equal keys the last counts.
func (c *canonical) sort(start int, members []member) {
	before := slices.Clone(c.text[start:])
	slices.SortStableFunc(members, func(a, b member) int { return strings.Compare(a.key, b.key) })
	c.text = c.text[:start]
	for i, m := range members {
		if i+1 < len(members) && members[i+1].key == m.key {
			continue
		}
		if len(c.text) > start {
			c.text = append(c.text, ',')
		}
		c.text = append(c.text, before[m.from-start:m.to-start]...)
	}
}
