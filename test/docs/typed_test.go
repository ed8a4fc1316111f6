/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"fmt"
	"regexp"
	"slices"
	"testing"

	"github.com/yuin/goldmark/ast"
)

// programs are the programs whose commands the tests run or check.
const programs = `(?:kubectl|helm|make|(?:bin/)?calyptia-agent-operator) `

// begins is a line that begins with a command, after indentation, list and quote marks, and a prompt.
var begins = regexp.MustCompile(`(?m)^(?:[ \t>]|[-*+] |\d+[.)] |\$ )*(` + programs + `.*)$`)

// code are the ranges of code blocks and inline code in the source.
func (p *page) code() (ranges [][2]int) {
	p.walk(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.FencedCodeBlock, *ast.CodeBlock:
			for i := range n.Lines().Len() {
				line := n.Lines().At(i)
				ranges = append(ranges, [2]int{line.Start, line.Stop})
			}
		case *ast.CodeSpan:
			if first, ok := n.FirstChild().(*ast.Text); ok {
				ranges = append(ranges, [2]int{first.Segment.Start, n.LastChild().(*ast.Text).Segment.Stop})
			}
		}
	})
	return ranges
}

// loose are the lines that begin with a command and are not code, so that no test runs them.
func (p *page) loose() (lines []piece) {
	ranges := p.code()
next:
	for _, match := range begins.FindAllSubmatchIndex(p.source, -1) {
		for _, within := range ranges {
			if within[0] <= match[2] && match[2] < within[1] {
				continue next
			}
		}
		lines = append(lines, piece{at: p.at(match[2]), text: string(p.source[match[2]:match[3]])})
	}
	return lines
}

func TestEveryCommandIsCode(t *testing.T) {
	for _, p := range pages(t) {
		for _, line := range p.loose() {
			t.Errorf("%s: this is prose: is it indented by 4 behind the text of its list item? %s", line.at, line.text)
		}
	}
}

// No test checks blocks of other languages.
func TestEveryBlockIsInALanguageThatIsLookedAt(t *testing.T) {
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if !slices.Contains([]string{"", "sh", "yaml", "mermaid"}, b.lang) {
				t.Errorf("%s: a block of %s", b.at, b.lang)
			}
		}
	}
}

// The check above must be able to fail.
func TestACommandInProseIsSeen(t *testing.T) {
	for source, want := range map[string]string{
		"    kubectl get agents\n":                              "[]",
		"```sh\nhelm list\n```\n":                               "[]",
		"run\n`kubectl get agents`, or `echo x;\nmake it`\n":    "[]",
		"To run\nkubectl get agents\n":                          "[{x.md:2 kubectl get agents}]",
		"1. First:\n\n      make test\n":                        "[{x.md:3 make test}]",
		"1. First:\n\n       make test\n":                       "[]",
		"- helm list\n":                                         "[{x.md:1 helm list}]",
		"> $ calyptia-agent-operator import\n":                  "[{x.md:1 calyptia-agent-operator import}]",
		"2. Then:\n\n   kubectl get a \\\n     --namespace b\n": `[{x.md:3 kubectl get a \}]`,
	} {
		if got := fmt.Sprint(parse("x.md", []byte(source)).loose()); got != want {
			t.Errorf("%q: %s, want %s", source, got, want)
		}
	}
}
