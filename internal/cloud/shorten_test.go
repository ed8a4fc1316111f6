/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// What is too large is read with its long strings shortened, in whatever parts it arrives.
func TestShorten_KeepsAllButTheRestOfLongStrings(t *testing.T) {
	const limit = 9 << 10
	for _, row := range []struct {
		name, config string
		fails        bool
	}{
		{name: "plain", config: strings.Repeat("x", 20<<10)},
		{name: "escaped characters", config: strings.Repeat("\u0001", 5<<10)},
		{name: "escaped quotes and backslashes", config: strings.Repeat(`\"`, 10<<10)},
		{name: "the letter u after an escaped backslash", config: strings.Repeat(`\u`, 10<<10)},
		{name: "characters of several bytes", config: strings.Repeat("日", 10<<10)},
		{name: "longer than what is read at all", config: strings.Repeat("x", 33*limit), fails: true},
	} {
		t.Run(row.name, func(t *testing.T) {
			text, err := json.Marshal(map[string]any{"id": "a", "rawConfig": row.config, "flags": []string{strings.Repeat("f", 8<<10)}, "machineID": "m"})
			if err != nil {
				t.Fatal(err)
			}
			for _, reader := range []io.Reader{bytes.NewReader(text), iotest.OneByteReader(bytes.NewReader(text))} {
				buffer := &bytes.Buffer{}
				_, err := readBody(buffer, reader, limit)
				if !errors.Is(err, ErrTooLarge) {
					t.Fatalf("readBody: %v", err)
				}
				err = shorten(buffer, reader, limit)
				if row.fails {
					if !errors.Is(err, ErrTooLarge) {
						t.Errorf("got %v, want it too large", err)
					}
					continue
				}
				var got struct{ ID, MachineID, RawConfig string }
				if err != nil || json.Unmarshal(buffer.Bytes(), &got) != nil || buffer.Len() > limit {
					t.Fatalf("got %v and %d bytes that end in %q", err, buffer.Len(), buffer.Bytes()[max(0, buffer.Len()-40):])
				}
				if got.ID != "a" || got.MachineID != "m" || got.RawConfig == row.config {
					t.Errorf("got id %q, machine ID %q, a configuration of %d bytes", got.ID, got.MachineID, len(got.RawConfig))
				}
			}
		})
	}
}

// What can be read is not changed, and no text has it write more than it read.
func FuzzShallow(f *testing.F) {
	for _, body := range append(bodies(), "]]]]{{", `[{"a":[{"b":"]}\"\\"}],"c":{}}]`, `{"a":[[[1]]]}`, `[[[[`, `}"`) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got := shallow(raw)
		if len(got) > len(raw) || json.Valid(raw) && !bytes.Equal(got, raw) && len(raw) < 1<<20 {
			t.Errorf("%q becomes %q", raw, got)
		}
		own := bytes.Clone(raw)
		s, other := newShortener(bytes.NewBuffer(own[:0]), 9<<10, 6<<10), newShortener(&bytes.Buffer{}, 9<<10, 6<<10)
		s.write(own) // In its own memory, as a body is shortened.
		other.write(raw)
		if !bytes.Equal(s.out.Bytes(), other.out.Bytes()) {
			t.Errorf("in its own memory %q becomes %q", raw, s.out.Bytes())
		}
	})
}
