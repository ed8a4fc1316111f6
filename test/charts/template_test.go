/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

func TestLint(t *testing.T) {
	for _, chart := range []string{operatorChart, agentsChart} {
		for version, path := range helms {
			if out, err := helmBy(t, path, nil, "lint", "--strict", kubeVersion, chart); err != nil {
				t.Error(version, err, out)
			}
		}
	}
}

// typed converts a rendered object to a Go type.
func typed[T any](t testing.TB, object *unstructured.Unstructured) *T {
	t.Helper()
	into := new(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, into); err != nil {
		t.Fatal(err)
	}
	return into
}

// everything sets each value that becomes a flag.
var everything = values{
	"allowedHosts": []string{"a.example", "b.example:8443"}, "allowInsecureHTTP": true, "readOnly": true, "concurrency": 3,
	"defaultProject": "tenant-a/calyptia", "clusterID": "blue", "watchNamespaces": []string{"tenant-a", "tenant-b"},
	"shard": "shard in (a,b)", "metrics": values{"certPath": "/certs"},
	"log": values{"development": true}, "extraArgs": []string{"--kubeconfig=/extra"},
}

// TestEachFlagIsAValue asks the binary for its flags.
func TestEachFlagIsAValue(t *testing.T) {
	help := must(exec.Command(must(operatorPath())(t), "--help").CombinedOutput())(t)
	var flags []string
	for _, match := range regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z-]+)`).FindAllStringSubmatch(string(help), -1) {
		// In a pod there is no kubeconfig.
		if !slices.Contains([]string{"help", "version", "kubeconfig"}, match[1]) {
			flags = append(flags, match[1])
		}
	}
	deployment := typed[appsv1.Deployment](t, only(t, render(t, operatorChart, "ns", everything), "Deployment"))
	args := deployment.Spec.Template.Spec.Containers[0].Args
	if last := args[len(args)-1]; last != "--kubeconfig=/extra" {
		t.Errorf("the last argument is %s, want that of extraArgs", last)
	}
	var passed []string
	for _, arg := range args[:len(args)-1] {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		passed = append(passed, name)
	}
	slices.Sort(flags)
	slices.Sort(passed)
	if len(flags) < 10 || !slices.Equal(flags, passed) {
		t.Errorf("the binary has the flags\n%s\nand the chart passes\n%s", flags, passed)
	}
	for _, want := range []string{
		"--allowed-hosts=a.example,b.example:8443", "--allow-insecure-http", "--read-only", "--concurrency=3",
		"--default-project=tenant-a/calyptia", "--cluster-id=blue", "--watch-namespaces=tenant-a,tenant-b",
		"--leader-elect=true", "--leader-election-namespace=ns", "--agent-metrics=true", "--metrics-bind-address=:8443",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s among %s", want, args)
		}
	}
}

// TestDefaultsAreTheOperators finds defaults of the chart that differ from those of the flags.
func TestDefaultsAreTheOperators(t *testing.T) {
	help := string(must(exec.Command(must(operatorPath())(t), "--help").CombinedOutput())(t))
	for _, want := range []string{
		`--allowed-hosts strings .*\(default \[cloud-api\.calyptia\.com\]\)`, `--concurrency int .*\(default 16\)`,
		`--agent-metrics .*\(default true\)`, `--metrics-bind-address string .*\(default ":8443"\)`,
		`--health-probe-bind-address string .*\(default ":8081"\)`, `--leader-election-lease-duration duration .*\(default 30s\)`,
		`--leader-election-renew-deadline duration .*\(default 20s\)`, `--leader-election-retry-period duration .*\(default 2s\)`,
	} {
		if !regexp.MustCompile(want).MatchString(help) {
			t.Errorf("the binary's help has no %s:\n%s", want, help)
		}
	}
	deployment := typed[appsv1.Deployment](t, only(t, render(t, operatorChart, "ns", nil), "Deployment"))
	for _, want := range []string{"--allowed-hosts=cloud-api.calyptia.com", "--concurrency=16", "--agent-metrics=true",
		"--metrics-bind-address=:8443", "--health-probe-bind-address=:8081", "--leader-election-lease-duration=30s",
		"--leader-election-renew-deadline=20s", "--leader-election-retry-period=2s"} {
		if args := deployment.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, want) {
			t.Errorf("no %s among %s", want, args)
		}
	}
}

// TestMemoryLimitSetsGOMEMLIMIT expects 90% of the limit, in any notation.
func TestMemoryLimitSetsGOMEMLIMIT(t *testing.T) {
	env := func(v values) []corev1.EnvVar {
		pod := typed[appsv1.Deployment](t, only(t, render(t, operatorChart, "ns", v), "Deployment")).Spec.Template.Spec
		return pod.Containers[0].Env
	}
	for _, limit := range []any{"512Mi", "1Gi", "1.5Gi", "300M", "1G", "2e9", "700000Ki", "300000k", 536870912, "536870912", "1Ti", "250000000000m"} {
		quantity := resource.MustParse(fmt.Sprint(limit))
		got := env(values{"resources": values{"limits": values{"memory": limit}}})
		want := []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: strconv.FormatInt(int64(float64(quantity.Value())*0.9), 10)}}
		if !slices.Equal(got, want) {
			t.Errorf("of %v: %v, want %v", limit, got, want)
		}
	}
	if got := env(values{"resources": values{"limits": values{"memory": nil}}}); len(got) != 0 {
		t.Errorf("without a limit: env = %v", got)
	}
	own := []corev1.EnvVar{{Name: "GOMEMLIMIT", Value: "400MiB"}}
	if got := env(values{"extraEnv": own}); !slices.Equal(got, own) {
		t.Errorf("with one's own: env = %v", got)
	}
}

// TestNamespacedModeNeedsNothingClusterWide renders the chart for an administrator of some namespaces.
func TestNamespacedModeNeedsNothingClusterWide(t *testing.T) {
	v := values{"watchNamespaces": []string{"tenant-a"}, "clusterID": "blue"}
	names := func(v values) (names []string) {
		for _, object := range render(t, operatorChart, "ns", v) {
			if object.GetNamespace() == "" {
				names = append(names, object.GetKind()+"/"+object.GetName())
			}
		}
		slices.Sort(names)
		return names
	}
	bare := merge(v, values{"agentSets": values{"enabled": false}, "crds": values{"enabled": false}, "rbac": values{"aggregate": false}})
	// Reviews are not namespaced.
	want := []string{"ClusterRole/calyptia-agent-operator-metrics-auth", "ClusterRole/calyptia-agent-operator-metrics-reader",
		"ClusterRoleBinding/calyptia-agent-operator-metrics-auth"}
	if got := names(bare); !slices.Equal(got, want) {
		t.Errorf("with metrics: %s, want %s", got, want)
	}
	for _, metrics := range []values{{"enabled": false}, {"rbac": values{"create": false}}} {
		if got := names(merge(bare, values{"metrics": metrics})); len(got) > 0 {
			t.Errorf("with %v: %s, want none", metrics, got)
		}
	}
}

// TestTheChartMatchesKustomize compares the roles of both for the operator and for users.
func TestTheChartMatchesKustomize(t *testing.T) {
	kustomized := kustomize(t, "config/default")
	rendered := render(t, operatorChart, operatorNamespace, nil)
	for _, kind := range []string{"ClusterRole", "Role"} {
		want := map[string]string{}
		for _, object := range ofKind(kustomized, kind) {
			want[describe(t, object)] = object.GetName()
		}
		for _, object := range ofKind(rendered, kind) {
			if object.GetAnnotations()["helm.sh/hook"] != "" {
				continue
			}
			key := describe(t, object)
			if want[key] == "" {
				t.Errorf("%s %s of the chart is not in config/rbac", kind, object.GetName())
			}
			delete(want, key)
		}
		for _, name := range want {
			t.Errorf("%s %s of config/rbac is not in the chart", kind, name)
		}
	}
	chartPod := typed[appsv1.Deployment](t, only(t, rendered, "Deployment")).Spec.Template.Spec
	kustomizePod := typed[appsv1.Deployment](t, only(t, kustomized, "Deployment")).Spec.Template.Spec
	for _, part := range []struct{ what, chart, kustomize string }{
		{"probes and security", yamlOf(t, chartPod.Containers[0].LivenessProbe, chartPod.Containers[0].ReadinessProbe,
			chartPod.Containers[0].SecurityContext, chartPod.SecurityContext), yamlOf(t, kustomizePod.Containers[0].LivenessProbe,
			kustomizePod.Containers[0].ReadinessProbe, kustomizePod.Containers[0].SecurityContext, kustomizePod.SecurityContext)},
		{"resources", yamlOf(t, chartPod.Containers[0].Resources, chartPod.Containers[0].Env),
			yamlOf(t, kustomizePod.Containers[0].Resources, kustomizePod.Containers[0].Env)},
		{"what a pod is given", yamlOf(t, chartPod.AutomountServiceAccountToken, chartPod.EnableServiceLinks, chartPod.TerminationGracePeriodSeconds),
			yamlOf(t, kustomizePod.AutomountServiceAccountToken, kustomizePod.EnableServiceLinks, kustomizePod.TerminationGracePeriodSeconds)},
		{"what the account gives other pods", yamlOf(t, accountOf(t, rendered).AutomountServiceAccountToken),
			yamlOf(t, accountOf(t, kustomized).AutomountServiceAccountToken)},
	} {
		if part.chart != part.kustomize {
			t.Errorf("%s of the chart:\n%s\nof config:\n%s", part.what, part.chart, part.kustomize)
		}
	}
}

// accountOf is the operator's own ServiceAccount.
func accountOf(t testing.TB, objects []*unstructured.Unstructured) *corev1.ServiceAccount {
	t.Helper()
	accounts := slices.DeleteFunc(ofKind(objects, "ServiceAccount"), func(o *unstructured.Unstructured) bool {
		return o.GetAnnotations()["helm.sh/hook"] != ""
	})
	return typed[corev1.ServiceAccount](t, only(t, accounts, "ServiceAccount"))
}

// describe is the rules of a role and the default roles that it is aggregated to.
func describe(t testing.TB, object *unstructured.Unstructured) string {
	t.Helper()
	role := typed[rbacv1.ClusterRole](t, object)
	var to []string
	for label := range role.Labels {
		if strings.Contains(label, "aggregate-to") {
			to = append(to, label)
		}
	}
	return yamlOf(t, role.Rules, to)
}

func yamlOf(t testing.TB, parts ...any) string {
	t.Helper()
	return string(must(yaml.Marshal(parts))(t))
}

func TestAlertsAndDashboardsComeFromTheirFiles(t *testing.T) {
	copied := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(copied, os.DirFS(operatorChart)); err != nil {
		t.Fatal(err)
	}
	both := values{"image": values{"tag": "test"}, "metrics": values{"rules": values{"enabled": true, "labels": values{"role": "alerts"}}, "dashboards": values{"enabled": true}}}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(copied, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"rules", "dashboards"} {
		files := must(filepath.Glob(filepath.Join(copied, dir, "*.*")))(t)
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	none := render(t, copied, "ns", both)
	if got := len(ofKind(none, "PrometheusRule")) + len(ofKind(none, "ConfigMap")); got != 0 {
		t.Errorf("without files: %d objects, want none", got)
	}
	write("rules/a.yaml", "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up == 0\n    annotations: {summary: '{{ $labels.pod }}'}\n")
	write("rules/b.yaml", "groups:\n- name: b\n  rules:\n  - record: b\n    expr: up\n")
	write("dashboards/d.json", `{"title": "{{ pod }}"}`)
	objects := render(t, copied, "ns", both)
	rule := only(t, objects, "PrometheusRule")
	groups, _, _ := unstructured.NestedSlice(rule.Object, "spec", "groups")
	if len(groups) != 2 || rule.GetLabels()["role"] != "alerts" || !strings.Contains(yamlOf(t, groups), "{{ $labels.pod }}") {
		t.Errorf("the rule: %v", rule.Object)
	}
	dashboard := typed[corev1.ConfigMap](t, only(t, objects, "ConfigMap"))
	if dashboard.Data["d.json"] != `{"title": "{{ pod }}"}` || dashboard.Labels["grafana_dashboard"] != "1" {
		t.Errorf("the dashboard: %v", dashboard)
	}
	plane := must(shared())(t)
	c := admin(t, plane)
	createNamespace(t, c, "ns")
	admitted(t, c, rule)
	admitted(t, c, only(t, objects, "ConfigMap"))
}

// kustomize builds a directory of the module.
func kustomize(t testing.TB, dir string) []*unstructured.Unstructured {
	t.Helper()
	command := exec.Command(must(kustomizePath())(t), "build", filepath.Join(testenv.ModuleRoot(), dir))
	return must(parse(string(must(command.Output())(t))))(t)
}
