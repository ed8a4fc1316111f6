/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// factor is a group of values with the settings to test.
type factor map[string]values

// factors of the operator's values. Each pair of settings of two factors is in some combination.
var factors = []factor{
	{"cluster-wide": {}, "namespaced": {"watchNamespaces": []string{"tenant-a", "tenant-b"}, "clusterID": "blue"}},
	{"default": {}, "named": {"fullnameOverride": "op", "commonLabels": values{"team": "logging"}}, "named-part": {"nameOverride": "op"}},
	{"crds": {}, "no-crds": {"crds": values{"enabled": false}}},
	{"two": {}, "alone": {"replicaCount": 1, "leaderElection": values{"enabled": false}},
		"elsewhere": {"replicaCount": 3, "leaderElection": values{"namespace": "tenant-b"}}},
	{"metrics": {}, "none": {"metrics": values{"enabled": false}}, "no-roles": {"metrics": values{"rbac": values{"create": false}}},
		"monitor": {"metrics": values{"port": 9443, "perAgent": false, "rbac": values{"readers": []values{
			{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}}},
			"certificate": values{"secretName": "metrics"},
			"serviceMonitor": values{"enabled": true, "labels": values{"release": "prometheus"}, "relabelings": []values{
				{"action": "labeldrop", "regex": "pod"}}},
			"rules": values{"enabled": true}, "dashboards": values{"enabled": true}}},
		"certified": {"metrics": values{"certPath": "/certs", "serviceMonitor": values{"enabled": true,
			"authorization": values{"type": "Bearer", "credentials": values{"name": "prometheus", "key": "token"}},
			"tlsConfig":     values{"serverName": "op", "ca": values{"configMap": values{"name": "ca", "key": "ca.crt"}}}}}}},
	{"account": {}, "own-account": {"serviceAccount": values{"create": false, "name": "mine"}},
		"annotated": {"serviceAccount": values{"name": "its-own", "annotations": values{"a": "b"}}}},
	{"roles": {}, "no-roles": {"rbac": values{"create": false, "aggregate": false}}},
	{"pdb": {}, "no-pdb": {"podDisruptionBudget": values{"enabled": false}},
		"at-least": {"podDisruptionBudget": values{"minAvailable": "50%"}}},
	{"open": {}, "closed": {"networkPolicy": values{"enabled": true, "egressPorts": []int{443, 8443}, "extraEgress": []values{
		{"to": []values{{"ipBlock": values{"cidr": "10.0.0.0/8"}}}}}}},
		"unread": {"networkPolicy": values{"enabled": true, "metricsFrom": []values{}}}},
	{"quiet": {}, "spoken": {"log": values{"level": 5, "encoder": "console", "stacktraceLevel": "error",
		"timeEncoding": "epoch", "development": true}}},
	{"direct": {}, "proxied": {"httpsProxy": "http://proxy.example:3128", "noProxy": ".example",
		"hostAliases": []values{{"ip": "10.0.0.1", "hostnames": []string{"a.example"}}}, "dnsPolicy": "None",
		"dnsConfig": values{"nameservers": []string{"10.0.0.53"}}, "strategy": values{"type": "Recreate"},
		"extraContainers": []values{{"name": "sidecar", "image": "registry.example/sidecar", "securityContext": values{
			"allowPrivilegeEscalation": false, "capabilities": values{"drop": []string{"ALL"}}}}},
		"deploymentAnnotations": values{"a": "b"}, "commonAnnotations": values{"team": "logging"},
		"extraObjects": []any{values{"apiVersion": "v1", "kind": "ConfigMap", "metadata": values{"name": "more",
			"namespace": "{{ .Release.Namespace }}", "labels": values{"app.kubernetes.io/instance": "{{ .Release.Name }}"}}}}}},
	{"plain": {}, "placed": {"priorityClassName": "system-cluster-critical", "nodeSelector": values{"disk": "ssd"},
		"tolerations": []values{{"operator": "Exists"}},
		"affinity": values{"nodeAffinity": values{"requiredDuringSchedulingIgnoredDuringExecution": values{"nodeSelectorTerms": []values{
			{"matchExpressions": []values{{"key": "arch", "operator": "In", "values": []string{"arm64"}}}}}}}},
		"topologySpreadConstraints": []values{{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
			"labelSelector": values{"matchLabels": values{"a": "b"}}}}},
		"unspread": {"topologySpreadConstraints": []values{}, "resources": values{"limits": values{"memory": nil}}}},
	{"bare": {}, "laden": {"imagePullSecrets": []values{{"name": "registry"}}, "podLabels": values{"a": "b"},
		"podAnnotations": values{"c": "d"}, "extraArgs": []string{"--zap-devel=false"},
		"image":        values{"digest": "sha256:" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"},
		"extraEnv":     []values{{"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}},
		"extraVolumes": []values{{"name": "ca", "configMap": values{"name": "ca"}}}, "extraVolumeMounts": []values{
			{"name": "ca", "mountPath": "/ca", "readOnly": true}}}},
	{"strict": {}, "custom": {"allowedHosts": []string{"a.example:8443", ".b.example"}, "allowInsecureHTTP": true, "readOnly": true,
		"defaultProject": "tenant-a/calyptia", "clusterID": "green", "concurrency": 64}},
	{"tested": {}, "untested": {"tests": values{"enabled": false}}},
}

// pairwise is a small set of combinations that has every pair of settings. It is deterministic.
func pairwise() [][]string {
	type pair struct {
		i, j int
		a, b string
	}
	open := map[pair]bool{}
	names := make([][]string, len(factors))
	for i, f := range factors {
		names[i] = slices.Sorted(maps.Keys(f))
	}
	for i := range names {
		for j := i + 1; j < len(names); j++ {
			for _, a := range names[i] {
				for _, b := range names[j] {
					open[pair{i, j, a, b}] = true
				}
			}
		}
	}
	var all [][]string
	for len(open) > 0 {
		row := make([]string, len(names))
		for i := range names {
			best := -1
			// Each row starts with another factor; otherwise rows would be alike while no pair decides.
			for k := range names[i] {
				name, gain := names[i][(k+len(all))%len(names[i])], 0
				for p := range open {
					if p.j == i && row[p.i] == p.a && p.b == name || p.i == i && p.a == name {
						gain++
					}
				}
				if gain > best {
					row[i], best = name, gain
				}
			}
		}
		before := len(open)
		for p := range open {
			if row[p.i] == p.a && row[p.j] == p.b {
				delete(open, p)
			}
		}
		if len(open) == before { // The greedy choice makes no progress: take a pair as it is.
			for _, p := range slices.SortedFunc(maps.Keys(open), func(a, b pair) int { return slices.Compare([]int{a.i, a.j}, []int{b.i, b.j}) })[:1] {
				row[p.i], row[p.j] = p.a, p.b
				delete(open, p)
			}
		}
		all = append(all, row)
	}
	return all
}

func TestEveryCombinationIsAdmitted(t *testing.T) {
	plane := must(shared())(t)
	c := admin(t, plane)
	for _, name := range []string{"combinations", "tenant-a", "tenant-b"} {
		createNamespace(t, c, name)
	}
	for i, row := range pairwise() {
		t.Run(fmt.Sprintf("%02d", i), func(t *testing.T) {
			v := values{}
			for f, name := range row {
				v = merge(v, factors[f][name])
			}
			objects := render(t, operatorChart, "combinations", v)
			if diff := cmp.Diff(objects, must(tryRender(t, helm3Path, operatorChart, "combinations", v))(t)); diff != "" {
				t.Errorf("by Helm 4 and 3 it is not the same (-4 +3):\n%s", diff)
			}
			for _, object := range objects {
				admitted(t, c, object)
			}
			if t.Failed() {
				t.Logf("the combination: %v", row)
			}
		})
	}
}

// createNamespace creates a namespace in which pods have to be restricted.
func createNamespace(t testing.TB, c client.Client, name string, labels ...string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		"pod-security.kubernetes.io/enforce": "restricted"}}}
	for _, label := range labels {
		namespace.Labels[label] = "true"
	}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
}

// admitted checks by a dry run whether the API server accepts an object, and the pods of a Deployment.
func admitted(t testing.TB, c client.Client, object *unstructured.Unstructured) {
	t.Helper()
	if object.GetKind() == "Deployment" {
		pod := podOf(t, object)
		admitted(t, c, pod)
		// If any pod were admitted, the check would be meaningless.
		containers, _, _ := unstructured.NestedSlice(pod.Object, "spec", "containers")
		delete(containers[0].(map[string]any), "securityContext")
		pod.Object["spec"].(map[string]any)["containers"] = containers
		if err := c.Create(context.Background(), pod, client.DryRunAll); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "PodSecurity") {
			t.Errorf("a pod that is not restricted: %v", err)
		}
	}
	err := c.Create(context.Background(), object.DeepCopy(), client.DryRunAll, client.FieldValidation("Strict"))
	// A CRD is validated before the API server checks whether it exists.
	if err != nil && (object.GetKind() != "CustomResourceDefinition" || !apierrors.IsAlreadyExists(err)) {
		t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

// podOf is a pod as the Deployment controller would create it.
func podOf(t testing.TB, deployment *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
	if err != nil {
		t.Fatal(err)
	}
	pod := &unstructured.Unstructured{Object: template}
	pod.SetAPIVersion("v1")
	pod.SetKind("Pod")
	pod.SetNamespace(deployment.GetNamespace())
	pod.SetName(deployment.GetName())
	return pod
}

// merge merges values over others, as helm does.
func merge(under, over values) values {
	all := values{}
	maps.Copy(all, under)
	for key, value := range over {
		inner, ok := value.(values)
		if below, has := all[key].(values); ok && has {
			value = merge(below, inner)
		}
		all[key] = value
	}
	return all
}
