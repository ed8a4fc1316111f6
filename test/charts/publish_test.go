/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// TestWhichImage: a released chart names its image by digest, unless the values name another.
func TestWhichImage(t *testing.T) {
	const digest = "sha256:1123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	released := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(released, os.DirFS(operatorChart)); err != nil {
		t.Fatal(err)
	}
	chart := string(must(os.ReadFile(filepath.Join(released, "Chart.yaml")))(t))
	chart = strings.Replace(chart, "annotations:\n", "annotations:\n  cloud.calyptia.com/image-digest: "+digest+"\n", 1)
	if err := os.WriteFile(filepath.Join(released, "Chart.yaml"), []byte(chart), 0o600); err != nil {
		t.Fatal(err)
	}
	const own = "ghcr.io/calyptia-agent-operator/calyptia-agent-operator"
	for _, row := range []struct {
		name  string
		image values
		want  string
	}{
		{"as released", nil, own + "@" + digest},
		{"another tag", values{"tag": "v9"}, own + ":v9"},
		{"another digest", values{"digest": someDigest}, own + "@" + someDigest},
		{"another repository", values{"repository": "registry.example/op", "tag": "v9"}, "registry.example/op:v9"},
		{"another repository by digest", values{"repository": "registry.example/op", "digest": someDigest, "tag": "v9"},
			"registry.example/op@" + someDigest},
		{"a mirror of the registry", values{"name": "op"}, "ghcr.io/calyptia-agent-operator/op@" + digest},
	} {
		t.Run(row.name, func(t *testing.T) {
			pod := typed[appsv1.Deployment](t, only(t, render(t, released, "ns", merge(values{"image": values{}}, values{"image": row.image})), "Deployment")).Spec.Template
			if got := pod.Spec.Containers[0].Image; got != row.want {
				t.Errorf("the image is %s, want %s", got, row.want)
			}
		})
	}
	for version, path := range helms {
		_, err := tryRender(t, path, released, "ns", values{"image": values{"repository": "registry.example/op"}})
		if err == nil || !strings.Contains(err.Error(), "image.tag: this chart was not released") {
			t.Errorf("%s takes a repository of others without a tag: %v", version, err)
		}
	}
}

// TestEveryObjectIsAnnotated: commonAnnotations are on every object of the release; its own annotations take precedence.
func TestEveryObjectIsAnnotated(t *testing.T) {
	v := merge(merge(monitored, ruled), merge(dashboarded, closed))
	v = merge(v, values{"commonAnnotations": values{"team": "logging", "helm.sh/resource-policy": "theirs"}})
	for _, object := range render(t, operatorChart, "ns", v) {
		if object.GetAnnotations()["team"] != "logging" {
			t.Errorf("%s %s has the annotations %v", object.GetKind(), object.GetName(), object.GetAnnotations())
		}
		if object.GetKind() == "CustomResourceDefinition" && object.GetAnnotations()["helm.sh/resource-policy"] != "keep" {
			t.Errorf("%s is not kept", object.GetName())
		}
	}
}

// TestTheMonitorsAccount: Prometheus reads the metrics as an account that may do nothing else.
func TestTheMonitorsAccount(t *testing.T) {
	const name = "calyptia-agent-operator-metrics-reader"
	objects := render(t, operatorChart, "ns", monitored)
	var bound []string
	for _, object := range append(ofKind(objects, "ClusterRoleBinding"), ofKind(objects, "RoleBinding")...) {
		binding := typed[rbacv1.ClusterRoleBinding](t, object)
		if slices.ContainsFunc(binding.Subjects, func(s rbacv1.Subject) bool { return s.Name == name && s.Namespace == "ns" }) {
			bound = append(bound, binding.RoleRef.Name)
		}
	}
	if !slices.Equal(bound, []string{name}) {
		t.Errorf("it is bound to %q", bound)
	}
	for _, row := range []struct {
		name string
		give values
		want int
	}{
		{"by default", monitored, 1},
		{"with a token of others", merge(monitored, values{"metrics": values{"serviceMonitor": values{
			"authorization": values{"credentials": values{"name": "s", "key": "token"}}}}}), 0},
		{"without a monitor", nil, 0},
	} {
		if got := len(ofKind(render(t, operatorChart, "ns", row.give), "Secret")); got != row.want {
			t.Errorf("%s: %d Secrets, want %d", row.name, got, row.want)
		}
	}
}

// TestAlertsAreChanged changes every setting of an alert, and finds the threshold of each that has one.
func TestAlertsAreChanged(t *testing.T) {
	var thresholds map[string]string
	content := must(os.ReadFile(filepath.Join(operatorChart, "alert-thresholds.yaml")))(t)
	if err := yaml.Unmarshal(content, &thresholds); err != nil || len(thresholds) == 0 {
		t.Fatalf("%d thresholds, %v", len(thresholds), err)
	}
	before := alertsOf(t, nil)
	for name, text := range thresholds {
		number := regexp.MustCompile(`[0-9.]+$`).FindString(text)
		expr, _ := before[name]["expr"].(string)
		if number == "" || strings.Count(expr, text) != 1 {
			t.Fatalf("%s: %q is %d times in %q", name, text, strings.Count(expr, text), expr)
		}
		after := alertsOf(t, values{name: values{"threshold": 0.75, "for": "7m", "severity": "page"}})
		want := strings.Replace(expr, text, strings.TrimSuffix(text, number)+"0.75", 1)
		labels, _ := after[name]["labels"].(map[string]any)
		if after[name]["expr"] != want || after[name]["for"] != "7m" || labels["severity"] != "page" || labels["team"] != "logging" {
			t.Errorf("%s is %v, want %s", name, after[name], want)
		}
	}
	for name, alert := range before {
		summary, _ := alert["annotations"].(map[string]any)["summary"].(string)
		if summary == "" || strings.Contains(summary, "{{") {
			t.Errorf("%s: the summary is %q, want a static one", name, summary)
		}
		if after := alertsOf(t, values{name: values{"enabled": false}}); len(after) != len(before)-1 || after[name] != nil {
			t.Errorf("without %s there are %d alerts of %d", name, len(after), len(before))
		}
	}
}

// alertsOf are the alerts of the rendered rule by their names.
func alertsOf(t testing.TB, change values) map[string]map[string]any {
	t.Helper()
	v := values{"metrics": values{"rules": values{"enabled": true, "alertLabels": values{"team": "logging"}, "alerts": change}}}
	rule := only(t, render(t, operatorChart, "ns", v), "PrometheusRule")
	groups, _, err := unstructured.NestedSlice(rule.Object, "spec", "groups")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]any{}
	for _, group := range groups {
		for _, entry := range group.(map[string]any)["rules"].([]any) {
			alert := entry.(map[string]any)
			all[alert["alert"].(string)] = alert
		}
	}
	return all
}

// TestThePageOfTheValuesHasEachValue compares docs/reference/values.md with the values.
func TestThePageOfTheValuesHasEachValue(t *testing.T) {
	page := string(must(os.ReadFile(filepath.Join(testenv.ModuleRoot(), "docs", "reference", "values.md")))(t))
	for _, chart := range []string{operatorChart, agentsChart} {
		var defaults values
		if err := yaml.Unmarshal(must(os.ReadFile(filepath.Join(chart, "values.yaml")))(t), &defaults); err != nil {
			t.Fatal(err)
		}
		for leaf := range leaves(defaults, "") {
			if !strings.Contains(page, "\n| `"+leaf+"` | ") {
				t.Errorf("the page does not have %s: run make charts", leaf)
			}
		}
	}
}
