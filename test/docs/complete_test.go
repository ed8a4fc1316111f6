/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"
	"sigs.k8s.io/yaml"
)

// kindPages are the pages that describe a kind.
var kindPages = map[string]string{"Agent": "docs/agent.md", "CloudProject": "docs/cloudproject.md", "AgentSet": "docs/agentset.md"}

// rows are the rows of all tables of a page, by the inline code in the first cell: the words of the other cells. The
// words of a section count as the row of its heading.
func (p *page) rows() map[string]string {
	rows := map[string]string{}
	for _, table := range p.tables() {
		for row := table.FirstChild(); row != nil; row = row.NextSibling() {
			cell := row.FirstChild()
			if _, isHead := row.(*extast.TableHeader); isHead || cell == nil {
				continue
			}
			var words []string
			for other := cell.NextSibling(); other != nil; other = other.NextSibling() {
				words = append(words, strings.TrimSpace(p.words(other)))
			}
			for _, span := range p.spans(cell) {
				rows[span.text] += strings.Join(words, " ")
			}
		}
	}
	for name, words := range p.sections() {
		rows[name] += words
	}
	return rows
}

// sections are the words below each heading, up to the next heading.
func (p *page) sections() map[string]string {
	sections := map[string]string{}
	for node := p.tree.FirstChild(); node != nil; node = node.NextSibling() {
		if node.Kind() != ast.KindHeading {
			continue
		}
		heading := p.words(node)
		for text := node.NextSibling(); text != nil && text.Kind() != ast.KindHeading; text = text.NextSibling() {
			sections[heading] += strings.TrimSpace(p.words(text))
		}
	}
	return sections
}

// shown are the names of all fields that the YAML of a page sets.
func (p *page) shown() (names []string) {
	for _, b := range p.blocks() {
		var values map[string]any
		if b.lang == "yaml" && yaml.Unmarshal([]byte(b.text), &values) == nil {
			names = append(names, leaves(values, "")...)
		}
	}
	return names
}

// missingFields are the fields of a spec that a page does not describe. A field of the first level has a section; the fields
// below are in its words or in an example. Names of references and what a selector may hold need no words.
func (p *page) missingFields(spec schema) (missing []string) {
	rows, shown := p.rows(), p.shown()
	for name, field := range spec.Properties {
		if rows[name] == "" {
			missing = append(missing, name)
			continue
		}
		for _, path := range below(field, "") {
			last := path[strings.LastIndex(path, ".")+1:]
			kind, isKeyRef := strings.CutSuffix(last, "KeyRef")
			word := regexp.MustCompile(`(?i)\b` + regexp.QuoteMeta(last) + `\b`)
			example := func(set string) bool { return strings.HasPrefix(set+".", "spec."+name+"."+path+".") }
			switch {
			case last == "name", slices.ContainsFunc(shown, example), word.MatchString(rows[name]):
			case isKeyRef && regexp.MustCompile(`(?i)\b`+kind+`\b`).MatchString(rows[name]): // "a ConfigMap or Secret"
			default:
				missing = append(missing, name+"."+path)
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// below are the paths of all fields below a field, except those in selectors.
func below(field schema, prefix string) (paths []string) {
	for name, child := range field.Properties {
		paths = append(paths, prefix+name)
		if name != "selector" && name != "spec" { // The spec in a template is that of another kind, which has a page.
			paths = append(paths, below(child, prefix+name+".")...)
		}
	}
	return paths
}

func TestEveryFieldIsOnThePageOfItsKind(t *testing.T) {
	for kind, path := range kindPages {
		spec := crds(t)[kind].Properties["spec"]
		if len(spec.Properties) < 4 {
			t.Fatalf("%s has only %d fields", kind, len(spec.Properties))
		}
		if missing := parse(path, read(t, path)).missingFields(spec); len(missing) > 0 {
			t.Errorf("%s does not describe %q", path, missing)
		}
	}
}

// A reader looks up reasons and conditions on these pages: each needs words there.
func TestEveryReasonIsExplained(t *testing.T) {
	rows := map[string]string{}
	for _, path := range append(slices.Collect(maps.Values(kindPages)), "docs/reference/reasons.md") {
		for name, words := range parse(path, read(t, path)).rows() {
			rows[name] += words
		}
	}
	for _, reason := range append(constants(t, "Reason"), constants(t, "Condition")...) {
		if rows[reason] == "" {
			t.Errorf("no page explains %s", reason)
		}
	}
}

// The checks above must be able to fail.
func TestMissingFieldsAreFound(t *testing.T) {
	const table = "| field | in words |\n| --- | --- |\n| `a` | the one, by name; its key, and a Secret |\n| `b` | |\n| c | bare |\n"
	leaf := schema{}
	spec := schema{Properties: map[string]schema{
		"a": {Properties: map[string]schema{"name": leaf, "key": leaf, "secretKeyRef": leaf, "configMapKeyRef": leaf, "depth": leaf, "keys": leaf}},
		"b": leaf, "c": leaf,
	}}
	for _, row := range []struct{ more, want string }{
		{"", "a.configMapKeyRef a.depth a.keys b c"},
		{"\n```yaml\nspec:\n  a: {depth: 1, configMapKeyRef: {name: x}}\n```\n", "a.keys b c"},
		{"\n```yaml\na: {depth: 1}\n```\n", "a.configMapKeyRef a.depth a.keys b c"},
	} {
		p := parse("x.md", []byte(table+row.more))
		if got := strings.Join(p.missingFields(spec), " "); got != row.want {
			t.Errorf("%s: %s, want %s", row.more, got, row.want)
		}
		if rows := p.rows(); rows["a"] != "the one, by name; its key, and a Secret" || rows["b"] != "" || rows["c"] != "" {
			t.Errorf("rows: %v", rows)
		}
	}
}
