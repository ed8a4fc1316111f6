/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// endpointOf is the endpoint of the ServiceMonitor with these values.
func endpointOf(t testing.TB, namespace string, own values) (monitor *unstructured.Unstructured, endpoint map[string]any) {
	t.Helper()
	v := values{"metrics": values{"certificate": values{"secretName": "metrics"}, "serviceMonitor": merge(values{"enabled": true}, own)}}
	monitor = only(t, render(t, operatorChart, namespace, v), "ServiceMonitor")
	endpoints, _, err := unstructured.NestedSlice(monitor.Object, "spec", "endpoints")
	if err != nil || len(endpoints) != 1 {
		t.Fatalf("%d endpoints, %v", len(endpoints), err)
	}
	return monitor, endpoints[0].(map[string]any)
}

// TestPrometheusAuthorization: a setting replaces the default as a whole. A certificate that is to be verified is not skipped
// because of a remaining default, and there is only one source of a token.
func TestPrometheusAuthorization(t *testing.T) {
	c := admin(t, must(shared())(t))
	createNamespace(t, c, "monitored")
	authority := values{"configMap": values{"name": "ca", "key": "ca.crt"}}
	token := values{"type": "Bearer", "credentials": values{"name": "prometheus", "key": "token"}}
	own := values{"type": "Bearer", "credentials": values{"name": "calyptia-agent-operator-metrics-reader", "key": "token"}}
	checked := values{"serverName": "calyptia-agent-operator-metrics.monitored.svc",
		"ca": values{"secret": values{"name": "metrics", "key": "ca.crt"}}}
	for _, row := range []struct {
		name               string
		own                values
		tls, authorization any
	}{
		{"by default", nil, checked, own},
		{"by another authority", values{"tlsConfig": values{"ca": authority, "serverName": "op"}}, values{"ca": authority, "serverName": "op"}, own},
		{"unchecked", values{"tlsConfig": values{"insecureSkipVerify": true}}, values{"insecureSkipVerify": true}, own},
		{"by a Secret", values{"authorization": token}, checked, token},
	} {
		t.Run(row.name, func(t *testing.T) {
			monitor, endpoint := endpointOf(t, "monitored", row.own)
			got := []any{endpoint["tlsConfig"], endpoint["authorization"], endpoint["bearerTokenFile"]}
			if diff := cmp.Diff([]any{row.tls, row.authorization, nil}, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			admitted(t, c, monitor)
		})
	}
	// The CRD refuses what the Prometheus operator does not know.
	monitor, _ := endpointOf(t, "monitored", values{"authorization": values{"secret": "prometheus"}})
	if err := c.Create(t.Context(), monitor, client.DryRunAll, client.FieldValidation("Strict")); err == nil {
		t.Error("any authorization is taken")
	}
}

// TestTheNetworkPolicyAllowsEachHost has hosts with different ports.
func TestTheNetworkPolicyAllowsEachHost(t *testing.T) {
	v := values{"networkPolicy": values{"enabled": true}, "allowedHosts": []string{
		"a.example", "a.example:8443", ".b.example:443", "[fd00::1]:9443", "fd00::1"}}
	policy := typed[networkingv1.NetworkPolicy](t, only(t, render(t, operatorChart, "ns", v), "NetworkPolicy"))
	var ports []int
	for _, rule := range policy.Spec.Egress[1:] { // The first is for names.
		for _, port := range rule.Ports {
			ports = append(ports, port.Port.IntValue())
		}
	}
	if want := []int{443, 6443, 8443, 9443}; !slices.Equal(ports, want) {
		t.Errorf("it allows egress to %v, want %v", ports, want)
	}
}

// TestTheNetworkPolicyAllowsDNS includes the DNS of OpenShift, whose pods listen on another port than their Service.
func TestTheNetworkPolicyAllowsDNS(t *testing.T) {
	v := values{"networkPolicy": values{"enabled": true}}
	policy := typed[networkingv1.NetworkPolicy](t, only(t, render(t, operatorChart, "ns", v), "NetworkPolicy"))
	var got []string
	for _, port := range policy.Spec.Egress[0].Ports {
		got = append(got, string(*port.Protocol)+"/"+port.Port.String())
	}
	if want := []string{"UDP/53", "TCP/53", "UDP/5353", "TCP/5353"}; !slices.Equal(got, want) || len(policy.Spec.Egress[0].To) > 0 {
		t.Errorf("it allows egress to %v of %v, want %v of all", got, policy.Spec.Egress[0].To, want)
	}
}

// TestTheUserOfTheTestPod: the setting of the user takes precedence over that of the chart, and null removes both.
func TestTheUserOfTheTestPod(t *testing.T) {
	user := func(id int64) *int64 { return &id }
	for _, row := range []struct {
		name string
		give values
		want *int64
	}{
		{"by default", nil, user(65532)},
		{"as the operator", values{"podSecurityContext": values{"runAsUser": 1000}}, user(1000)},
		{"as its own", values{"tests": values{"runAsUser": 2000}}, user(2000)},
		{"as both", values{"podSecurityContext": values{"runAsUser": 1000}, "tests": values{"runAsUser": 2000}}, user(1000)},
		{"as the cluster assigns", values{"tests": values{"runAsUser": nil}}, nil},
		{"both as the cluster assigns", values{"podSecurityContext": values{"runAsUser": nil}, "tests": values{"runAsUser": nil}}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			pod := typed[corev1.Pod](t, only(t, render(t, operatorChart, "ns", row.give), "Pod"))
			if diff := cmp.Diff(row.want, pod.Spec.SecurityContext.RunAsUser); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if nonRoot := pod.Spec.SecurityContext.RunAsNonRoot; nonRoot == nil || !*nonRoot {
				t.Error("it may run as root")
			}
			for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
				if container.Resources.Requests.Memory().IsZero() || container.Resources.Limits.Memory().IsZero() {
					t.Errorf("container %s is given %v", container.Name, container.Resources)
				}
			}
		})
	}
}

// TestLabelsOfOthers sets labels that the charts set themselves: each occurs once, with the value of the selectors.
func TestLabelsOfOthers(t *testing.T) {
	common := values{"app.kubernetes.io/name": "theirs", "app.kubernetes.io/instance": "theirs", "control-plane": "theirs",
		"helm.sh/chart": "theirs", "app.kubernetes.io/managed-by": "theirs", "team": "logging"}
	operator := values{"commonLabels": common, "podLabels": common, "networkPolicy": values{"enabled": true},
		"podAnnotations": values{"kubectl.kubernetes.io/default-container": "sidecar"},
		"metrics": values{"certificate": values{"secretName": "c"}, "serviceMonitor": values{"enabled": true, "labels": common}, "rules": values{"enabled": true, "labels": common},
			"dashboards": values{"enabled": true, "labels": common}}}
	agents := values{"commonLabels": common, "cloudProjects": values{"p": values{"token": "t", "labels": common}},
		"agents": values{"a": values{"labels": common}}}
	for path, v := range map[string]values{operatorChart: operator, agentsChart: agents} {
		for _, object := range render(t, path, "ns", v) {
			labels := object.GetLabels()
			if labels["app.kubernetes.io/instance"] != operatorName || labels["app.kubernetes.io/managed-by"] != "Helm" || labels["team"] != "logging" {
				t.Errorf("%s %s has the labels %v", object.GetKind(), object.GetName(), labels)
			}
		}
	}
	pod := podOf(t, only(t, render(t, operatorChart, "ns", operator), "Deployment"))
	if pod.GetLabels()["control-plane"] != "controller-manager" || pod.GetAnnotations()["kubectl.kubernetes.io/default-container"] != "sidecar" {
		t.Errorf("the pod has the labels %v and the annotations %v", pod.GetLabels(), pod.GetAnnotations())
	}
}

// TestNamesThatLookLikeNumbers uses names that YAML does not read as strings.
func TestNamesThatLookLikeNumbers(t *testing.T) {
	c := admin(t, must(shared())(t))
	for _, name := range []string{"123", "1e3", "0123"} {
		createNamespace(t, c, name)
	}
	v := values{"fullnameOverride": "null", "serviceAccount": values{"name": "456"}, "priorityClassName": "789",
		"watchNamespaces": []string{"123", "1e3"}, "clusterID": "1e9", "leaderElection": values{"namespace": "0123"},
		"networkPolicy": values{"enabled": true}, "metrics": values{"certificate": values{"secretName": "1e3"}, "serviceMonitor": values{"enabled": true}, "rules": values{"enabled": true}}}
	for path, v := range map[string]values{operatorChart: v, agentsChart: {
		"cloudProjects": values{"123": values{"token": "t"}},
		"agents":        values{"456": values{"spec": values{"type": "fluentbit", "version": "v4.0.0", "rawConfig": "[INPUT]"}}}}} {
		out := must(helm(t, nil, "template", "789", path, "--namespace", "123", "--values", valuesFile(t, v)))(t)
		for _, object := range must(parse(out))(t) {
			if object.GetName() == "" || object.GetLabels()["app.kubernetes.io/instance"] != "789" {
				t.Errorf("a %s of the name %q and the labels %v", object.GetKind(), object.GetName(), object.GetLabels())
			}
			if object.GetKind() != "Deployment" { // Its pods would need the class.
				admitted(t, c, object)
			} else if err := c.Create(t.Context(), object, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
				t.Error(err)
			}
		}
	}
	// A release may have dots in its name; a Service may not.
	if _, err := helm(t, nil, "template", "a.b", operatorChart, "--namespace", "ns"); err == nil {
		t.Error("a Service is named after a.b")
	}
	if _, err := helm(t, nil, "template", "a.b", operatorChart, "--namespace", "ns", "--set", "fullnameOverride=a-b"); err != nil {
		t.Error(err)
	}
}
