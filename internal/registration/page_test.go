/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package registration

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/reference/registration.md")

// `make docs` writes the page, and this test notices when it is not as the table is.
func TestPage_IsGeneratedFromTheTable(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "reference", "registration.md")
	want := page()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of date, run `make docs` (-want +got):\n%s", path, diff)
	}
}

func page() string {
	var b strings.Builder
	b.WriteString(`# The registration, as a table

Written by ` + "`make docs`" + ` from [internal/registration](../../internal/registration/decide.go), where the same table decides.
[Reliability](../reliability.md) explains it.

## States

A registration is *absent*, *in doubt* while its intent is open, or *recorded*.

` + "```mermaid\nstateDiagram-v2\n" + `    [*] --> absent
`)
	for _, edge := range edges() {
		b.WriteString("    " + edge + "\n")
	}
	b.WriteString("```\n" + `
## Decisions

The first row that applies decides. After each action the facts are gathered again.

| | if | then |
| --- | --- | --- |
`)
	for i, row := range Table {
		fmt.Fprintf(&b, "| %d | %s | %s |\n", i+1, row.If, row.Then(absent(func(f *Facts) { f.Trusted = noon })))
	}
	fmt.Fprintf(&b, "| %d | otherwise | %s |\n", len(Table)+1, Action{Kind: Create})
	return b.String()
}

// edges are the moves between states that the cases show, once each.
func edges() []string {
	moves := map[string]bool{}
	for _, c := range cases {
		from := "absent"
		switch {
		case c.facts.Open:
			from = "in_doubt"
		case c.facts.Recorded:
			from = "recorded"
		}
		to, label := from, string(c.want.Kind)
		switch c.want.Kind {
		case Create:
			to = "in_doubt"
		case Adopt:
			to = "recorded"
		case CloseIntent:
			to = "absent"
		case Release:
			to = "[*]"
		}
		if to != from || c.want.Kind == Create {
			moves[fmt.Sprintf("%s --> %s: %s", from, to, label)] = true
		}
	}
	moves["in_doubt --> recorded: response to Create"] = true
	moves["recorded --> absent: the agent is missing"] = true
	return slices.Sorted(maps.Keys(moves))
}

// String says in words what is done.
func (a Action) String() string {
	switch a.Kind {
	case Keep:
		return "keep the agent"
	case Read:
		return "read " + a.Source.String()
	case Lookup:
		return "look up the agent that " + a.Source.String() + " names"
	case Adopt:
		return "record the agent that " + a.Source.String() + " names"
	case ReadInventory:
		return "get a snapshot that is begun from now on"
	case Create:
		return "create: persist a fresh intent, then send one request"
	case CloseIntent:
		return "close the intent"
	case Release:
		if a.Code == MaybeOrphaned {
			return "release the Agent, and report what may be left"
		}
		return "release the Agent"
	default:
		return fmt.Sprintf("%s (%s)", map[Kind]string{Wait: "wait", Fail: "fail"}[a.Kind], a.Code)
	}
}
