/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// runbook is the page that the alerts link to.
const runbook = "https://github.com/calyptia-agent-operator/operator/blob/main/docs/runbook.md"

// promtool is that of Prometheus; selectors prints the selectors of an expression.
var (
	promtool = sync.OnceValues(func() (string, error) {
		return build(module(), "promtool", "-tags=remove_all_sd", "github.com/prometheus/prometheus/cmd/promtool")
	})
	selectors = sync.OnceValues(func() (string, error) { return build(module(), "selectors", ".") })
)

func module() string { return filepath.Join(testenv.ModuleRoot(), "hack", "promtool") }

func chart(path ...string) string {
	return filepath.Join(append([]string{testenv.ModuleRoot(), "charts", "calyptia-agent-operator"}, path...)...)
}

// alert is a rule of the chart.
type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// alerts are all rules of the chart, and the files that they come from.
func alerts(t *testing.T) (all []alert, files []string) {
	t.Helper()
	files, err := filepath.Glob(chart("rules", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no rules: %v", err)
	}
	for _, path := range files {
		var rules struct {
			Groups []struct {
				Rules []alert `json:"rules"`
			} `json:"groups"`
		}
		if err := yaml.Unmarshal([]byte(file(t, "charts", "calyptia-agent-operator", "rules", filepath.Base(path))), &rules); err != nil {
			t.Fatal(err)
		}
		for _, group := range rules.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all, files
}

func run(t *testing.T, tool func() (string, error), args ...string) {
	t.Helper()
	path, err := tool()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args[:2], " "), err, out)
	}
}

func TestAlertsFireWhenTheyShouldAndOnlyThen(t *testing.T) {
	t.Parallel()
	all, files := alerts(t)
	run(t, promtool, append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, files...)...)
	cases := filepath.Join("testdata", "alerts.yaml")
	run(t, promtool, "test", "rules", cases)

	var tests struct {
		Tests []struct {
			Name  string `json:"name"`
			Rules []struct {
				AlertName string `json:"alertname"`
				Alerts    []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	if err := yaml.Unmarshal([]byte(file(t, "test", "observe", cases)), &tests); err != nil {
		t.Fatal(err)
	}
	fires, calm := sets.New[string](), sets.New[string]()
	for _, test := range tests.Tests {
		for _, rule := range test.Rules {
			if len(rule.Alerts) > 0 {
				fires.Insert(rule.AlertName)
			} else {
				calm.Insert(rule.AlertName)
			}
		}
	}
	for _, a := range all {
		if !fires.Has(a.Alert) || !calm.Has(a.Alert) {
			t.Errorf("%s is not tested both ways", a.Alert)
		}
	}
}

func TestEveryAlertHasItsEntryInTheRunbook(t *testing.T) {
	t.Parallel()
	all, _ := alerts(t)
	entries := sets.New[string]()
	for part := range strings.SplitSeq(document(t, "runbook.md"), "\n## ") {
		if name, text, found := strings.Cut(part, "\n"); found && !strings.HasPrefix(name, "#") {
			entries.Insert(name)
			if !strings.Contains(text, "    kubectl ") {
				t.Errorf("the entry %s names no command", name)
			}
		}
	}
	for _, a := range all {
		if !entries.Has(a.Alert) {
			t.Errorf("%s has no entry", a.Alert)
		}
		entries.Delete(a.Alert)
		if want := runbook + "#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s links to %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if !slices.Contains([]string{"info", "warning", "critical"}, a.Labels["severity"]) {
			t.Errorf("%s has the severity %q", a.Alert, a.Labels["severity"])
		}
	}
	if len(entries) > 0 {
		t.Errorf("entries without an alert: %v", sets.List(entries))
	}
}

// expression is a query of a rule or panel, and its place.
type expression struct {
	where, text string
	labels      []string // that its text refers to
}

// reference is a label in the text of an alert or a legend.
var reference = regexp.MustCompile(`\{\{-? *(?:\$labels\.)?([a-z_]+) *-?\}\}`)

func refers(texts ...string) (labels []string) {
	for _, text := range texts {
		for _, match := range reference.FindAllStringSubmatch(text, -1) {
			labels = append(labels, match[1])
		}
	}
	return labels
}

// panels are the expressions of the dashboard, with its variables filled in as Grafana would.
func panels(t *testing.T) (all []expression) {
	t.Helper()
	type target struct {
		Expr         string `json:"expr"`
		LegendFormat string `json:"legendFormat"`
	}
	var dashboard struct {
		Panels []struct {
			Title   string   `json:"title"`
			Type    string   `json:"type"`
			Targets []target `json:"targets"`
		} `json:"panels"`
		Templating struct {
			List []struct {
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
	}
	content := file(t, "charts", "calyptia-agent-operator", "dashboards", "calyptia-agents.json")
	if err := json.Unmarshal([]byte(content), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$cloudproject", ".*", "$__rate_interval", "5m")
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q has no query", p.Title)
		}
		for _, asked := range p.Targets {
			text := variables.Replace(asked.Expr)
			if strings.Contains(text, "$") {
				t.Errorf("panel %q has a variable that the dashboard does not have: %s", p.Title, text)
			}
			all = append(all, expression{where: "panel " + p.Title, text: text, labels: refers(asked.LegendFormat)})
		}
	}
	for _, variable := range dashboard.Templating.List {
		values, found := strings.CutPrefix(variable.Definition, "label_values(")
		if !found {
			continue
		}
		metric, label, _ := strings.Cut(strings.TrimSuffix(values, ")"), ", ")
		all = append(all, expression{where: "variable", text: "sum by (" + label + ") (" + metric + ")"})
	}
	return all
}

func TestAlertsAndDashboardUseExistingMetricsOnly(t *testing.T) {
	t.Parallel()
	all, _ := alerts(t)
	asked := panels(t)
	for _, a := range all {
		asked = append(asked, expression{
			where: "alert " + a.Alert, text: a.Expr, labels: refers(a.Annotations["summary"], a.Annotations["description"]),
		})
	}
	metrics, body := expose(t)
	words := document(t, "metrics.md")
	shown := sets.New[string]()
	for i, n := range named(t, asked) {
		where := asked[i].where
		there := sets.New[string]()
		for _, metric := range n.Metrics {
			labels, known := labelsOfSeries(metrics, metric)
			if !known {
				t.Errorf("%s: there is no metric %s", where, metric)
			}
			there = there.Union(labels)
			shown.Insert(metric)
		}
		for _, ask := range n.Asked {
			if labels, _ := labelsOfSeries(metrics, ask.Metric); !labels.Has(ask.Label) {
				t.Errorf("%s: %s has no label %s", where, ask.Metric, ask.Label)
			}
			for value := range strings.SplitSeq(ask.Value, "|") {
				if !meaningful(ask.Label, value, words, body) {
					t.Errorf("%s: no %s is called %q", where, ask.Label, value)
				}
			}
		}
		for _, label := range append(n.Labels, asked[i].labels...) {
			if !there.Has(label) && !targetLabels.Has(label) {
				t.Errorf("%s: none of %v has a label %s", where, n.Metrics, label)
			}
		}
	}
	for name := range documented(t) {
		if _, ok := metrics[name]; !slices.ContainsFunc(sets.List(shown), func(s string) bool { return strings.HasPrefix(s, name) }) && ok {
			t.Errorf("%s is neither in an alert nor on the dashboard", name)
		}
	}
}

// targetLabels are the labels by which the Prometheus operator distinguishes the pods behind a ServiceMonitor, and
// which name the release.
var targetLabels = sets.New("namespace", "job")

// labelsOfSeries are the labels of a metric, or of a part of a histogram.
func labelsOfSeries(metrics map[string]family, name string) (sets.Set[string], bool) {
	if f, known := metrics[name]; known && f.kind != "histogram" {
		return f.labels, true
	}
	for suffix, label := range map[string]string{"_bucket": "le", "_count": "", "_sum": ""} {
		if base, cut := strings.CutSuffix(name, suffix); cut && metrics[base].kind == "histogram" {
			return metrics[base].labels.Union(sets.New(label)), true
		}
	}
	return nil, false
}

// meaningful reports whether a label can have a value: one that is in the documentation or in the exposed metrics.
func meaningful(label, value, words, body string) bool {
	switch label {
	case "cloudproject", "code":
		return true
	case "reason":
		return v1alpha1.IsReason(value) || strings.Contains(words, "`"+value+"`")
	case "status":
		return slices.Contains([]string{"True", "False", "Unknown"}, value)
	default:
		value = strings.TrimPrefix(value, ".*") // including that of a shard
		return strings.Contains(words, "`"+value+"`") || strings.Contains(body, label+`="`+value+`"`)
	}
}

// names is the output of hack/promtool for an expression.
type names struct {
	Metrics, Labels []string
	Asked           []struct{ Metric, Label, Value string }
}

func named(t *testing.T, asked []expression) (all []names) {
	t.Helper()
	var texts []string
	for _, e := range asked {
		texts = append(texts, e.text)
	}
	input, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	path, err := selectors()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path)
	var out, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &out, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if err := json.Unmarshal(out.Bytes(), &all); err != nil || len(all) != len(asked) {
		t.Fatalf("%d of %d expressions were understood: %v", len(all), len(asked), err)
	}
	return all
}
