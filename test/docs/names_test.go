/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// literals are the string literals of the operator's code, which hold every name that it uses.
func literals(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, dir := range []string{"api", "internal"} {
		for _, path := range filesUnder(t, dir, ".go") {
			if strings.HasSuffix(path, "_test.go") || strings.Contains(path, "cloudtest") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(testenv.ModuleRoot(), path), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if value, err := strconv.Unquote(literal.Value); err == nil {
						all[value] = true
					}
				}
				return true
			})
		}
	}
	return all
}

// constants are the string constants of the API package, whose names begin with prefix.
func constants(t *testing.T, prefix string) (values []string) {
	t.Helper()
	for _, path := range filesUnder(t, "api/v1alpha1", ".go") {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(testenv.ModuleRoot(), path), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, prefix) {
				return true
			}
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				value, _ := strconv.Unquote(literal.Value)
				values = append(values, value)
			}
			return true
		})
	}
	if len(values) == 0 {
		t.Fatalf("the API package has no constants %s...", prefix)
	}
	return values
}

// find calls visit with each match of a pattern on all pages, and requires a minimum of matches.
func find(t *testing.T, least int, pattern string, visit func(at string, match []string)) {
	t.Helper()
	expression, found := regexp.MustCompile(pattern), 0
	for _, p := range pages(t) {
		for _, match := range expression.FindAllSubmatchIndex(p.source, -1) {
			found++
			var words []string
			for i := 0; i < len(match); i += 2 {
				words = append(words, string(p.source[max(match[i], 0):max(match[i+1], 0)]))
			}
			visit(p.at(match[0]), words)
		}
	}
	if found < least {
		t.Errorf("only %d matches of %s were found", found, pattern)
	}
}

func TestEveryAnnotationLabelAndFinalizerExists(t *testing.T) {
	known := append(constants(t, "Annotation"), constants(t, "Label")...)
	known = append(known, constants(t, "AgentFinalizer")...)
	known = append(known, constants(t, "CloudProjectFinalizer")...)
	known = append(known, constants(t, "CredentialsFinalizer")...)
	find(t, 5, `(^|[^.\w])(cloud\.calyptia\.com/[\w-]+)`, func(at string, match []string) {
		if name := match[2]; name != "cloud.calyptia.com/v1alpha1" && !slices.Contains(known, name) {
			t.Errorf("%s: there is no %s", at, name)
		}
	})
}

func TestEveryMetricExists(t *testing.T) {
	known := literals(t)
	find(t, 2, `\bcalyptia_\w+`, func(at string, match []string) {
		name := match[0]
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			if base, cut := strings.CutSuffix(name, suffix); cut && known[base] {
				return
			}
		}
		t.Errorf("%s: there is no metric %s", at, name)
	})
}

func TestEveryMakeTargetExists(t *testing.T) {
	targets := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllSubmatch(read(t, "Makefile"), -1) {
		targets[string(match[1])] = true
	}
	find(t, 5, "(?m)(?:^\\s*(?:\\$ )?|`)make ([a-z][a-z0-9-]*)", func(at string, match []string) {
		if !targets[match[1]] {
			t.Errorf("%s: there is no target %s", at, match[1])
		}
	})
}

var (
	flagWord    = regexp.MustCompile(`(?:^|[\s="'\[])(--[a-z][a-z-]+)`)
	operatorRun = regexp.MustCompile(`^\s*(\$ )?(\w+=\S+ )*([\w./-]*/)?calyptia-agent-operator\s|\bmake run\b`)
)

// flags are the flags of the operator and its subcommands, except hidden flags.
func flags(t *testing.T, binary string, command ...string) map[string]bool {
	t.Helper()
	out, err := exec.Command(binary, append(slices.Clone(command), "--help")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q --help: %v\n%s", command, err, out)
	}
	all := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?(--[a-z][a-z-]*)`).FindAllSubmatch(out, -1) {
		all[string(match[1])] = true
	}
	_, listed, _ := strings.Cut(string(out), "\nCommands:\n")
	for line := range strings.Lines(listed) {
		if !strings.HasPrefix(line, "  ") {
			break
		}
		if name := strings.Fields(line)[0]; name != "help" {
			for flag := range flags(t, binary, append(slices.Clone(command), name)...) {
				all[flag] = true
			}
		}
	}
	return all
}

// Inline code that begins with a dash is a flag of the operator; flags of other programs follow the name of the
// program. In a code block, flags are in a line that runs the operator.
func TestEveryFlagExists(t *testing.T) {
	known, checked := flags(t, must(operatorPath())(t)), 0
	check := func(at, text string) {
		for _, match := range flagWord.FindAllStringSubmatch(text, -1) {
			checked++
			if !known[match[1]] {
				t.Errorf("%s: the operator has no flag %s", at, match[1])
			}
		}
	}
	for _, p := range pages(t) {
		for _, span := range p.spans(p.tree) {
			if strings.HasPrefix(span.text, "--") || operatorRun.MatchString(span.text) {
				check(span.at, span.text)
			}
		}
		for _, b := range p.blocks() {
			for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
				if operatorRun.MatchString(line) {
					check(b.at, line)
				}
			}
		}
	}
	if len(known) < 10 || checked < 5 {
		t.Errorf("only %d uses of %d flags were found", checked, len(known))
	}
}

// schema is the part of a CRD's schema that is needed to find a field.
type schema struct {
	Properties           map[string]schema `json:"properties"`
	Items                *schema           `json:"items"`
	AdditionalProperties any               `json:"additionalProperties"`
	Preserve             bool              `json:"x-kubernetes-preserve-unknown-fields"`
	Enum                 []any             `json:"enum"`
}

func (s schema) has(path []string) bool {
	if len(path) == 0 || s.Preserve || s.AdditionalProperties != nil {
		return true
	}
	if s.Items != nil {
		return s.Items.has(path)
	}
	field, ok := s.Properties[path[0]]
	return ok && field.has(path[1:])
}

// crds are the schemas of the operator's kinds.
func crds(t *testing.T) map[string]schema {
	t.Helper()
	all := map[string]schema{}
	for _, path := range filesUnder(t, "config/crd/bases", ".yaml") {
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct {
						OpenAPIV3Schema schema `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(read(t, path), &crd); err != nil {
			t.Fatal(err)
		}
		all[crd.Spec.Names.Kind] = crd.Spec.Versions[0].Schema.OpenAPIV3Schema
	}
	return all
}

func TestEveryFieldExists(t *testing.T) {
	all, path, checked := crds(t), regexp.MustCompile(`^(spec|status)(\.[A-Za-z]+)+$`), 0
	for _, p := range pages(t) {
		for _, span := range p.spans(p.tree) {
			if !path.MatchString(span.text) {
				continue
			}
			checked++
			fields := strings.Split(span.text, ".")
			if !all["Agent"].has(fields) && !all["AgentSet"].has(fields) && !all["CloudProject"].has(fields) {
				t.Errorf("%s: no kind has a field %s", span.at, span.text)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d fields were found", checked)
	}
}

// The checks above must be able to fail.
func TestTheChecksOfNamesCanFail(t *testing.T) {
	all := crds(t)
	for path, want := range map[string]bool{
		"spec.rawConfigFrom.configMapKeyRef.name": true, "spec.colour": false, "status.applied.generation": true, "spec.metadata.team": true,
	} {
		if got := all["Agent"].has(strings.Split(path, ".")); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	p := parse("docs/x.md", []byte("# A `b`, c!\n\n## A b c\n\n[x](x.md) [y](#a-b-c) [z](#nowhere) [r](../README.md)\n\n`--leader-elect`\n"))
	for link, want := range map[string]bool{"x.md": false, "#a-b-c": true, "#nowhere": false, "../README.md": true, "../../x": false} {
		if err := leads(p, link); (err == nil) != want {
			t.Errorf("%s: %v", link, err)
		}
	}
	if anchors := p.anchors(); !anchors["a-b-c"] || !anchors["a-b-c-1"] || len(anchors) != 2 {
		t.Errorf("anchors: %v", anchors)
	}
	if links := p.links(); len(links) != 4 {
		t.Errorf("links: %q", links)
	}
	spans := p.spans(p.tree)
	if got := fmt.Sprint(spans); got != "[{docs/x.md:1 b} {docs/x.md:7 --leader-elect}]" {
		t.Errorf("spans: %s", got)
	}
	known := flags(t, must(operatorPath())(t))
	if !known["--leader-elect"] || known["--registration-slack"] || known["--colour"] {
		t.Errorf("flags: %v", known)
	}
}
