/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
)

// otherFields are names in camel case that are not the operator's.
var otherFields = map[string]string{
	"hostPath":           "of a volume",
	"dependsOn":          "of a Kustomization of Flux",
	"healthChecks":       "of a Kustomization of Flux",
	"emptyDir":           "of a pod",
	"envFrom":            "of a pod",
	"namePrefix":         "of a Kustomization of kustomize",
	"nameSuffix":         "of a Kustomization of kustomize",
	"configMapGenerator": "of a Kustomization of kustomize",
	"secretGenerator":    "of a Kustomization of kustomize",
	"existingConfigMap":  "a value of the chart of Fluent Bit",
}

// otherWords are capitalized names that are not the operator's.
var otherWords = map[string]string{
	"NoSchedule":                  "an effect of a taint",
	"Audit":                       "an action of an admission policy",
	"SessionsRenewed":             "an event of an AgentSet",
	"Healthy":                     "health of Argo CD",
	"Degraded":                    "health of Argo CD",
	"Current":                     "status of kstatus",
	"InProgress":                  "status of kstatus",
	"Failed":                      "status of kstatus",
	"Terminating":                 "status of kstatus",
	"SkipDryRunOnMissingResource": "sync option of Argo CD",
	"Other":                       "what the metrics call a reason that is none of the API",
	"Dockerfile":                  "a file",
	"Link":                        "a header of HTTP",
	"GitOps":                      "a way to work",
	"CycloneDX":                   "a format of SBOMs",
	"GitHub":                      "where the repository is",
	"OpenShift":                   "a distribution of Kubernetes",
}

// fields are the names of all fields of the kinds, each with its enum values.
func fields(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	var add func(s schema)
	add = func(s schema) {
		for name, field := range s.Properties {
			values := all[name]
			for _, value := range field.Enum {
				values = append(values, fmt.Sprint(value))
			}
			all[name] = values
			add(field)
		}
		if s.Items != nil {
			add(*s.Items)
		}
	}
	for _, kind := range crds(t) {
		add(kind)
	}
	return all
}

// keys are the names of all nested values.
func keys(values map[string]any) (names []string) {
	for key, value := range values {
		names = append(names, key)
		if below, isObject := value.(map[string]any); isObject {
			names = append(names, keys(below)...)
		}
	}
	return names
}

// misspelt checks inline code in camel case, such as `name` or `name: Value`, and accepts other code.
func misspelt(text string, known map[string][]string) error {
	match := camelCase.FindStringSubmatch(text)
	if match == nil {
		return nil
	}
	values, exists := known[match[1]]
	if !exists {
		return fmt.Errorf("neither a kind nor a chart has %s", match[1])
	}
	value := strings.TrimPrefix(match[2], ": ")
	if value != "" && len(values) > 0 && !slices.Contains(values, value) {
		return fmt.Errorf("%s may be %q", match[1], values)
	}
	return nil
}

func TestEveryNameInCamelCaseExists(t *testing.T) {
	known, used, checked := fields(t), map[string]bool{}, 0
	for _, values := range readCharts(t).values {
		for _, name := range keys(values) {
			if _, exists := known[name]; !exists {
				known[name] = nil
			}
		}
	}
	for name := range otherFields {
		if _, exists := known[name]; exists {
			t.Errorf("%s is the operator's own", name)
		}
	}
	for _, p := range pages(t) {
		if p.path == "docs/architecture.md" {
			continue // It names functions.
		}
		for _, span := range p.spans(p.tree) {
			if !camelCase.MatchString(span.text) {
				continue
			}
			checked++
			if otherFields[span.text] != "" {
				used[span.text] = true
			} else if err := misspelt(span.text, known); err != nil {
				t.Errorf("%s: `%s`: %v", span.at, span.text, err)
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d names were found", checked)
	}
	for name := range otherFields {
		if !used[name] {
			t.Errorf("no page has %s", name)
		}
	}
}

var (
	// codeWord is inline code that is one capitalized name; proseWord is a capitalized name in a text, which a capital
	// inside distinguishes from an English word.
	codeWord  = regexp.MustCompile(`^[A-Z][A-Za-z]*[a-z][A-Za-z]*$`)
	proseWord = regexp.MustCompile(`\b[A-Z][A-Za-z]*[a-z][A-Z][A-Za-z]+\b`)
)

// capitalized are the capitalized names of a page: inline code, and words of a text.
func (p *page) capitalized() (names []piece) {
	for _, span := range p.spans(p.tree) {
		if codeWord.MatchString(span.text) {
			names = append(names, span)
		}
	}
	p.walk(func(n ast.Node) {
		text, ok := n.(*ast.Text)
		if !ok || n.Parent().Kind() == ast.KindCodeSpan {
			return
		}
		for _, match := range proseWord.FindAllIndex(text.Segment.Value(p.source), -1) {
			from, to := text.Segment.Start+match[0], text.Segment.Start+match[1]
			names = append(names, piece{at: p.at(from), text: string(p.source[from:to])})
		}
	})
	return names
}

// named are the capitalized names that exist: reasons, conditions, values of fields, alerts, kinds, events.
func named(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, prefix := range []string{"Reason", "Condition"} {
		for _, name := range constants(t, prefix) {
			all[name] = true
		}
	}
	for _, values := range fields(t) {
		for _, value := range values {
			all[value] = true
		}
	}
	for path, pattern := range map[string]string{
		"internal/remoteagent/outcome.go":                                 `\bReason: "(\w+)"`,
		"charts/" + operatorChart + "/rules/calyptia-agent-operator.yaml": `(?m)^\s*- alert: (\w+)$`,
	} {
		matches := regexp.MustCompile(pattern).FindAllStringSubmatch(string(read(t, path)), -1)
		if len(matches) < 10 {
			t.Errorf("%s has only %d names", path, len(matches))
		}
		for _, match := range matches {
			all[match[1]] = true
		}
	}
	for kind := range newReader(t).served {
		all[kind], all[kind+"s"], all[strings.TrimSuffix(kind, "y")+"ies"] = true, true, true
	}
	return all
}

func TestEveryReasonExists(t *testing.T) {
	known, used, checked := named(t), map[string]bool{}, 0
	for name := range otherWords {
		if known[name] {
			t.Errorf("%s is the operator's own", name)
		}
	}
	for _, p := range pages(t) {
		if strings.HasPrefix(p.path, "docs/reference/") || p.path == "docs/architecture.md" || p.path == "docs/contributing.md" {
			continue // It is generated, or has many names of Go types.
		}
		for _, name := range p.capitalized() {
			checked++
			if otherWords[name.text] != "" {
				used[name.text] = true
			} else if !known[name.text] {
				t.Errorf("%s: nothing is called %s", name.at, name.text)
			}
		}
	}
	if checked < 200 {
		t.Errorf("only %d names were found", checked)
	}
	for name := range otherWords {
		if !used[name] {
			t.Errorf("no page has %s", name)
		}
	}
}

// The checks above must be able to fail.
func TestTheChecksOfSpellingsCanFail(t *testing.T) {
	known := fields(t)
	for text, want := range map[string]bool{
		"syncPolicy": true, "syncPolicies": false, "syncPolicy: Observe": true, "syncPolicy: Watch": false,
		"matchLabels": true, "sessionSecretRef: {}": true, "sync policy": true, "agentId": false,
	} {
		if err := misspelt(text, known); (err == nil) != want {
			t.Errorf("%s: %v", text, err)
		}
	}
	p := parse("x.md", []byte("If it is ProjectNotReddy, see `Drifted`, `calyptia`,\nnot A Word. [APIServerError](x)\n\n| URLNotOk |\n| --- |\n"))
	const want = "[{x.md:1 Drifted} {x.md:1 ProjectNotReddy} {x.md:2 APIServerError} {x.md:4 URLNotOk}]"
	if got := fmt.Sprint(p.capitalized()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	names := named(t)
	for name, want := range map[string]bool{"ProjectNotReady": true, "ProjectNotReddy": false, "Reregistered": true, "NetworkPolicies": true,
		"CloudProjects": true, "FieldsIgnored": true, "CalyptiaCloudSlow": true, "OnChange": true, "Deluxe": false} {
		if names[name] != want {
			t.Errorf("%s: %v", name, names[name])
		}
	}
}
