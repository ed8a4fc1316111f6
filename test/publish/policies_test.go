/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package publish_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const agent = `{apiVersion: cloud.calyptia.com/v1alpha1, kind: Agent, metadata: {name: a, labels: {team: web}}, spec: {projectRef: {name: p}, %s}}`

// policyRow is an Agent and the expected response of the policies.
type policyRow struct{ name, spec, want string }

var policyRows = []policyRow{
	{"as it should be", `type: fluentbit, version: v4.0.0, rawConfig: "[INPUT]\n    Name cpu\n"`, ""},
	{"an old Fluent Bit", `type: fluentbit, version: v1.8.6, rawConfig: x`, "spec.version: v1.8.6 is not supported here"},
	{"the first supported Fluent Bit", `type: fluentbit, version: 3.0.0, rawConfig: x`, ""},
	{"a Fluent Bit of the future", `type: fluentbit, version: v5.0.0, rawConfig: x`, "spec.version: v5.0.0 is not supported here"},
	{"an old Fluentd", `type: fluentd, version: v1.15.3, rawConfig: x`, "spec.version: v1.15.3 is not supported here"},
	{"a pre-release of Fluentd", `type: fluentd, version: v1.16.0-rc.1, rawConfig: x`, ""},
	{"an adopted agent without a version", `agentID: 5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11`, ""},
	{"a password", `type: fluentbit, version: v4.0.0, rawConfig: "[OUTPUT]\n    HTTP_Passwd change-me\n"`, "spec.rawConfig: holds a password"},
	{"a password in YAML", `type: fluentbit, version: v4.0.0, rawConfig: "outputs:\n  - name: es\n    http_passwd: 'x'\n"`, "spec.rawConfig: holds a password"},
	{"a password as the first key of an item", `type: fluentbit, version: v4.0.0, rawConfig: "o:\n  - password: x\n"`, "spec.rawConfig: holds a password"},
	{"a token of Fluentd", `type: fluentd, version: v1.16.0, rawConfig: "<match>\n  hec_token abc\n</match>"`, "spec.rawConfig: holds a password"},
	{"a password that the machine supplies", `type: fluentbit, version: v4.0.0, rawConfig: "[OUTPUT]\n    HTTP_Passwd ${PASSWORD}\n"`, ""},
	{"one that it supplies to YAML", `type: fluentbit, version: v4.0.0, rawConfig: "o:\n  - http_passwd: \"${PASSWORD}\"\n"`, ""},
	{"a tag that is called like one", `type: fluentbit, version: v4.0.0, rawConfig: "[INPUT]\n    Tag tokens.audit\n"`, ""},
	{"a Secret", `type: fluentbit, version: v4.0.0, rawConfigFrom: {secretKeyRef: {name: s, key: k}}`, "take the configuration from a ConfigMap"},
	{"a ConfigMap", `type: fluentbit, version: v4.0.0, rawConfigFrom: {configMapKeyRef: {name: s, key: k}}`, ""},
}

// withCRDs is a client of a separate API server with the CRDs.
func withCRDs(t *testing.T) client.Client {
	t.Helper()
	plane, err := testenv.Start(t.Context(), testenv.Options{CRDDirs: []string{testenv.OwnCRDs()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(plane.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func applyPolicies(t *testing.T, c client.Client) {
	t.Helper()
	for _, file := range files(t, "config", "policies", "agent-*.yaml") {
		for document := range strings.SplitSeq(read(t, strings.TrimPrefix(file, path())), "\n---\n") {
			object := &unstructured.Unstructured{}
			decode(t, document, &object.Object)
			if err := c.Create(t.Context(), object, client.FieldValidation(metav1.FieldValidationStrict)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestThePolicies applies the samples to a real API server, and sends it what they allow and refuse.
func TestThePolicies(t *testing.T) {
	c := withCRDs(t)
	applyPolicies(t, c)
	send := func(namespace, manifest string) error {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(manifest), &object.Object); err != nil {
			t.Fatal(err)
		}
		object.SetNamespace(namespace)
		return c.Create(t.Context(), object, client.DryRunAll)
	}
	unowned := strings.Replace(fmt.Sprintf(agent, policyRows[0].spec), "labels: {team: web}", "labels: {}", 1)
	refused := []policyRow{{"nobody's", unowned, "set the label team"}}
	for _, row := range policyRows {
		refused = append(refused, policyRow{row.name, fmt.Sprintf(agent, row.spec), row.want})
	}
	// A policy takes effect a moment after its creation, so wait until each has refused something.
	for _, row := range refused {
		if row.want != "" {
			refusesSoon(t, row, send)
		}
	}
	for _, row := range refused {
		if err := send("default", row.spec); (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
	excepted := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "excepted", Labels: map[string]string{"calyptia-agents-policies": "excepted"}}}
	if err := c.Create(t.Context(), excepted); err != nil {
		t.Fatal(err)
	}
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return send("excepted", unowned) == nil, nil
	})
	if err != nil {
		t.Errorf("a namespace that is excepted: %v", send("excepted", unowned))
	}
}

func refusesSoon(t *testing.T, row policyRow, send func(namespace, manifest string) error) {
	t.Helper()
	last := errors.New("it was never sent")
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		last = send("default", row.spec)
		return last != nil && strings.Contains(last.Error(), row.want), nil
	})
	if err != nil {
		t.Errorf("%s: %v, want %q", row.name, last, row.want)
	}
}
