/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// umbrella is a parent chart with both charts as dependencies, that of the agents also under another name.
func umbrella(t *testing.T, path func() (string, error)) string {
	t.Helper()
	dir := t.TempDir()
	dependency := func(name, alias string) values {
		on := name
		if alias != "" {
			on = alias
		}
		return values{"name": name, "alias": alias, "version": ">=0.0.0-0", "repository": "file://" + chart(name), "condition": on + ".enabled"}
	}
	write := func(name string, content any) {
		if err := os.WriteFile(filepath.Join(dir, name), must(yaml.Marshal(content))(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("Chart.yaml", values{"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": []values{
		dependency("calyptia-agent-operator", ""), dependency("calyptia-agents", ""), dependency("calyptia-agents", "more"),
	}})
	write("values.yaml", values{
		"global":                  values{"imagePullSecrets": []values{{"name": "registry"}}, "team": "logging"},
		"calyptia-agent-operator": values{"enabled": true, "image": values{"tag": "test"}, "global": values{"own": true}},
		"calyptia-agents": values{"enabled": true, "cloudProjects": values{"calyptia": values{"spec": values{
			"tokenSecretRef": values{"name": "token"}}}}, "agents": values{"web": values{}}},
		"more": values{"enabled": false, "agents": values{"api": values{}}},
	})
	if out, err := helmBy(t, path, nil, "dependency", "update", dir, "--skip-refresh"); err != nil {
		t.Fatal(err, out)
	}
	return dir
}

// TestInAnUmbrellaChart sets the condition of a parent chart, which is a value of the chart itself.
func TestInAnUmbrellaChart(t *testing.T) {
	for version, path := range helms {
		t.Run(version, func(t *testing.T) {
			dir := umbrella(t, path)
			for _, row := range []struct {
				name string
				set  string
				want []string // deployments and agents
			}{
				{"as it is", "", []string{"Deployment/umbrella-calyptia-agent-operator", "Agent/web"}},
				{"without the operator", "calyptia-agent-operator.enabled=false", []string{"Agent/web"}},
				{"without agents", "calyptia-agents.enabled=false", []string{"Deployment/umbrella-calyptia-agent-operator"}},
				{"with more agents", "more.enabled=true", []string{"Deployment/umbrella-calyptia-agent-operator", "Agent/web", "Agent/api"}},
				{"without any", "calyptia-agents.enabled=false,calyptia-agent-operator.enabled=false", nil},
			} {
				out, err := helmBy(t, path, nil, "template", "umbrella", dir, "--namespace", "ns", kubeVersion, "--set", row.set)
				if err != nil {
					t.Errorf("%s: %v", row.name, err)
					continue
				}
				objects := must(parse(out))(t)
				var got []string
				for _, object := range append(ofKind(objects, "Deployment"), ofKind(objects, "Agent")...) {
					got = append(got, object.GetKind()+"/"+object.GetName())
				}
				if !sameInAnyOrder(got, row.want) {
					t.Errorf("%s: %v, want %v", row.name, got, row.want)
				}
			}
			if _, err := helmBy(t, path, nil, "template", "umbrella", dir, kubeVersion, "--set", "calyptia-agents.enabled=maybe"); err == nil {
				t.Error("any text is taken for enabled")
			}
		})
	}
}

func sameInAnyOrder(got, want []string) bool {
	count := map[string]int{}
	for _, name := range got {
		count[name]++
	}
	for _, name := range want {
		count[name]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// TestEnabledNeedsAParentChart checks that a chart without a parent refuses the value, which has no effect there.
func TestEnabledNeedsAParentChart(t *testing.T) {
	for version, path := range helms {
		for _, chart := range []string{operatorChart, agentsChart} {
			if _, err := tryRender(t, path, chart, "ns", values{"enabled": true}); err != nil {
				t.Errorf("%s: %v", version, err)
			}
			_, err := tryRender(t, path, chart, "ns", values{"enabled": false, "agents": values{"a": values{}}})
			if chart == operatorChart {
				_, err = tryRender(t, path, chart, "ns", values{"enabled": false})
			}
			if err == nil || !strings.Contains(err.Error(), "enabled: only the condition of a parent chart reads it") {
				t.Errorf("%s renders %s in spite of enabled: false: %v", version, filepath.Base(chart), err)
			}
		}
	}
}

// TestPodsRunOnLinux: the node selector of the user is added to that of the chart.
func TestPodsRunOnLinux(t *testing.T) {
	const system = "kubernetes.io/os"
	for _, row := range []struct {
		name string
		give values
		want map[string]string
	}{
		{"by default", nil, map[string]string{system: "linux"}},
		{"beside others", values{"nodeSelector": values{"disk": "ssd"}}, map[string]string{system: "linux", "disk": "ssd"}},
		{"set twice", values{"nodeSelector": values{system: "linux"}}, map[string]string{system: "linux"}},
		{"set differently", values{"nodeSelector": values{system: "plan9"}}, map[string]string{system: "plan9"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			objects := render(t, operatorChart, "ns", row.give)
			deployment, _, _ := unstructured.NestedStringMap(only(t, objects, "Deployment").Object, "spec", "template", "spec", "nodeSelector")
			test, _, _ := unstructured.NestedStringMap(only(t, objects, "Pod").Object, "spec", "nodeSelector")
			for what, got := range map[string]map[string]string{"operator": deployment, "test": test} {
				if yamlOf(t, got) != yamlOf(t, row.want) {
					t.Errorf("the %s runs on %v, want %v", what, got, row.want)
				}
			}
		})
	}
	selector, _, _ := unstructured.NestedStringMap(only(t, kustomize(t, "config/default"), "Deployment").Object, "spec", "template", "spec", "nodeSelector")
	if yamlOf(t, selector) != yamlOf(t, map[string]string{system: "linux"}) {
		t.Errorf("the operator of config/default runs on %v", selector)
	}
}
