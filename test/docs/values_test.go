/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const operatorChart, agentsChart = "calyptia-agent-operator", "calyptia-agents"

// charts are the values of each chart.
type charts struct {
	values map[string]map[string]any
	kinds  map[string]schema
}

func readCharts(t *testing.T) charts {
	t.Helper()
	c := charts{values: map[string]map[string]any{}, kinds: crds(t)}
	for _, chart := range []string{operatorChart, agentsChart} {
		var values map[string]any
		if err := yaml.UnmarshalStrict(read(t, filepath.Join("charts", chart, "values.yaml")), &values); err != nil || len(values) == 0 {
			t.Fatalf("%s: %d values, %v", chart, len(values), err)
		}
		c.values[chart] = values
	}
	return c
}

// has reports whether a chart has the value. Below an empty value in values.yaml any name is accepted.
func (c charts) has(chart, name string) bool {
	path := strings.Split(name, ".")
	if kind := map[string]string{"cloudProjects": "CloudProject", "agents": "Agent"}[path[0]]; chart == agentsChart && kind != "" {
		if len(path) < 3 || path[2] != "spec" {
			return len(path) < 3 || slices.Contains([]string{"labels", "annotations", "token"}, path[2])
		}
		return c.kinds[kind].has(path[2:])
	}
	if chart == agentsChart && path[0] == "agentDefaults" {
		return c.kinds["Agent"].has(append([]string{"spec"}, path[1:]...))
	}
	var at any = c.values[chart]
	for _, key := range path {
		fields, isObject := at.(map[string]any)
		if !isObject || len(fields) == 0 && at != nil {
			return isObject
		}
		if at, isObject = fields[key]; !isObject {
			return false
		}
	}
	return true
}

// leaves are the names of all values in a block.
func leaves(values map[string]any, prefix string) (names []string) {
	for key, value := range values {
		if below, isObject := value.(map[string]any); isObject && len(below) > 0 {
			names = append(names, leaves(below, prefix+key+".")...)
		} else {
			names = append(names, prefix+key)
		}
	}
	return names
}

var (
	setFlag   = regexp.MustCompile(`--set(?:-string|-file|-json)?[ =]([\w.-]+)=`)
	dotted    = regexp.MustCompile(`^([a-z][A-Za-z]*(?:\.[A-Za-z]+)+)(: .*)?$`)
	ownChart  = regexp.MustCompile(`charts/(calyptia-[a-z-]+)`)
	camelCase = regexp.MustCompile(`^([a-z]+[A-Z][A-Za-z]*)(: .*)?$`)
)

// otherNames are inline code that looks like a value, but is a field's name or belongs to another program.
var otherNames = regexp.MustCompile(`^(spec|status)\.|\.(yaml|json|md|go|conf|crt|key)$|^registry\.example\.com$|` +
	`^(session\.CALYPTIA|config\.service|configs\.cm)$`)

// setOn are the values that commands set, with the chart in the command.
func setOn(text string) (named [][2]string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		chart := ownChart.FindStringSubmatch(line)
		for _, match := range setFlag.FindAllStringSubmatch(line, -1) {
			if chart != nil {
				named = append(named, [2]string{chart[1], match[1]})
			}
		}
	}
	return named
}

func TestEveryValueThatIsSetExists(t *testing.T) {
	c, checked := readCharts(t), 0
	check := func(at, chart, name string) {
		checked++
		if !c.has(chart, name) {
			t.Errorf("%s: the chart %s has no value %s", at, chart, name)
		}
	}
	commands := func(at, text string) {
		for _, pair := range setOn(text) {
			check(at, pair[0], pair[1])
		}
	}
	for _, path := range filesUnder(t, "charts", "NOTES.txt", "values.yaml") {
		commands(path, string(read(t, path)))
	}
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			commands(b.at, b.text)
			chart := ownChart.FindStringSubmatch(p.path)
			if b.lang != "yaml" || chart == nil {
				continue
			}
			var values map[string]any
			if err := yaml.UnmarshalStrict([]byte(b.text), &values); err != nil {
				t.Errorf("%s: %v", b.at, err)
			}
			for _, name := range leaves(values, "") {
				check(b.at, chart[1], name)
			}
		}
	}
	for _, m := range manifests(t) {
		objects, err := documents(m.text)
		if err != nil {
			t.Errorf("%s: %v", m.at, err)
		}
		for _, object := range objects {
			for _, name := range leaves(object.Object, "") {
				for _, prefix := range []string{"spec.values.", "spec.source.helm.valuesObject."} {
					if value, found := strings.CutPrefix(name, prefix); found && object.GetName() == operatorChart {
						check(m.at, operatorChart, value)
					}
				}
			}
		}
	}
	if checked < 15 {
		t.Errorf("only %d values were found", checked)
	}
}

// Inline code with dots is a value of a chart, unless it is listed above; in the README of a chart names in camel case
// are values, too, unless a kind has a field of that name.
func TestEveryValueInATextExists(t *testing.T) {
	c, checked := readCharts(t), 0
	exists := func(chart, name string) bool {
		checked++
		if chart != "" {
			return c.has(chart, name)
		}
		return c.has(operatorChart, name) || c.has(agentsChart, name)
	}
	for _, p := range pages(t) {
		var chart string
		if match := ownChart.FindStringSubmatch(p.path); match != nil {
			chart = match[1]
		}
		for _, span := range p.spans(p.tree) {
			match := dotted.FindStringSubmatch(span.text)
			if match == nil && chart != "" {
				match = camelCase.FindStringSubmatch(span.text)
			}
			if match == nil || otherNames.MatchString(match[1]) || exists(chart, match[1]) {
				continue
			}
			field := []string{"spec", match[1]}
			if !c.kinds["Agent"].has(field) && !c.kinds["CloudProject"].has(field) {
				t.Errorf("%s: no chart has a value %s", span.at, match[1])
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d values were found", checked)
	}
}

// The checks above must be able to fail.
func TestTheChecksOfValuesCanFail(t *testing.T) {
	c := readCharts(t)
	for _, row := range []struct {
		chart, name string
		want        bool
	}{
		{operatorChart, "image.repository", true},
		{operatorChart, "image.repo", false},
		{operatorChart, "image.tag.more", false},
		{operatorChart, "imageTag", false},
		{operatorChart, "metrics.rbac.create", true},
		{operatorChart, "affinity.nodeAffinity", true},
		{operatorChart, "agents", false},
		{agentsChart, "image.repository", false},
		{agentsChart, "agents.web.spec.rawConfig", true},
		{agentsChart, "agents.web.spec.colour", false},
		{agentsChart, "agents.web.colour", false},
		{agentsChart, "agentDefaults.type", true},
		{agentsChart, "agentDefaults.spec", false},
		{agentsChart, "cloudProjects.calyptia.token", true},
	} {
		if got := c.has(row.chart, row.name); got != row.want {
			t.Errorf("%s %s: %v", row.chart, row.name, got)
		}
	}
	const command = "helm install x \\\n  ./charts/calyptia-agents --set a.b=c --set-string=d=e\nhelm install y other/chart --set f=g\n"
	if got := setOn(command); !slices.Equal(got, [][2]string{{agentsChart, "a.b"}, {agentsChart, "d"}}) {
		t.Errorf("set: %v", got)
	}
}
