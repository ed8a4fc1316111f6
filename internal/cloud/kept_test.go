/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloud_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Every worker may hold an agent as long as it waits, so what a server fills an agent with must not stay in memory.
func TestOfAHugeAgentOnlyTheBeginningIsKept(t *testing.T) {
	t.Parallel()
	const huge = 8 << 20
	const text = 4<<10 + 1
	filled := strings.Repeat("x", huge)
	for field, kept := range map[string]int{
		"name": text, "version": text, "status": text, "os": text, "environmentName": text, "fleetID": text,
		"machineID": text, "token": cloud.MaxToken + 1, "rawConfig": 1<<20 + 1, "flags": text, "tags": text, "metadata": len(`"0123456789abcdef"`),
	} {
		t.Run(field, func(t *testing.T) {
			t.Parallel()
			value := any(filled)
			switch field {
			case "flags", "tags":
				value = []string{filled}
			case "token":
				value = strings.Repeat("t", huge) // Repeated, x is a mask.
			case "metadata":
				value = map[string]string{"a": filled}
			}
			body, err := json.Marshal(map[string]any{"id": nilID, field: value})
			if err != nil {
				t.Fatal(err)
			}
			var agent cloud.Agent
			if err := json.Unmarshal(body, &agent); err != nil {
				t.Fatal(err)
			}
			size := len(agent.Name) + len(agent.Version) + len(agent.Status) + len(agent.OS) + len(agent.EnvironmentName) + len(agent.Fleet()) +
				len(agent.MachineID) + len(agent.Token.Reveal()) + len(agent.RawConfig) + len(strings.Join(append(agent.Flags, agent.Tags...), "")) + len(agent.Metadata)
			if size != kept {
				t.Errorf("%d bytes are kept, want %d", size, kept)
			}
		})
	}
}

// The response to a registration has a token, too, which is held until a Secret has it.
func TestOfATokenThatNoSecretCanHoldOnlyTheBeginningIsKept(t *testing.T) {
	t.Parallel()
	var made cloud.Registered
	if err := json.Unmarshal([]byte(`{"id":"`+nilID+`","token":"`+strings.Repeat("t", 8<<20)+`"}`), &made); err != nil {
		t.Fatal(err)
	}
	if n := len(made.Token.Reveal()); n != cloud.MaxToken+1 {
		t.Errorf("%d bytes are kept, want %d", n, cloud.MaxToken+1)
	}
}

// Of metadata that repeats a key the last value counts, and the memory of the others is not kept. Metadata with more members than can be
// declared, at any depth, is never decoded.
func TestLargeMetadata_TakesLittleMemory(t *testing.T) {
	for name, row := range map[string]struct {
		metadata string
		most     int64 // MiB
	}{
		"a key twice":  {`{"a":"` + strings.Repeat("x", 8<<20) + `","a":1}`, 128},
		"many members": {`{"a":{"":0` + strings.Repeat(`,"":0`, (8<<20)/5) + `}}`, 64},
	} {
		t.Run(name, func(t *testing.T) {
			body := []byte(`{"id":"` + nilID + `","metadata":` + row.metadata + `}`)
			var before, after runtime.MemStats
			var agent cloud.Agent
			runtime.ReadMemStats(&before)
			if err := json.Unmarshal(body, &agent); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if kept := cap(agent.Metadata); kept > 1<<10 {
				t.Errorf("%d bytes are kept", kept)
			}
			if took := int64(after.TotalAlloc-before.TotalAlloc) >> 20; took > row.most {
				t.Errorf("it took %d MiB", took)
			}
		})
	}
}

// An API may write each character in six: what was declared equals itself all the same, however long, and differs from all else.
func TestLargeMetadata_EachCharacterEscaped_IsTheSame(t *testing.T) {
	t.Parallel()
	for name, character := range map[string]string{"not Latin": "字", "escaped also when canonical": "<"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Repeat(character, 400_000)
			declared, err := json.Marshal(map[string]string{"note": text})
			if err != nil {
				t.Fatal(err)
			}
			escaped := strings.Repeat(fmt.Sprintf(`\u%04x`, []rune(character)[0]), 400_000)
			shown := func(metadata string) json.RawMessage {
				var agent cloud.Agent
				if err := json.Unmarshal([]byte(`{"id":"`+nilID+`","metadata":`+metadata+`}`), &agent); err != nil {
					t.Fatal(err)
				}
				return cloud.Canonical(agent.Metadata)
			}
			if !bytes.Equal(shown(`{"note":"`+escaped+`"}`), cloud.Canonical(declared)) {
				t.Error("the same text, escaped, differs")
			}
			if bytes.Equal(shown(`{"note":"`+escaped+`x"}`), cloud.Canonical(declared)) {
				t.Error("a longer text is the same")
			}
		})
	}
}
