/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package publish_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const agentSet = `{apiVersion: cloud.calyptia.com/v1alpha1, kind: AgentSet, metadata: {name: a, labels: {team: web}},
  spec: {targetRef: {kind: DaemonSet, name: d}, template: {metadata: {labels: {team: web}}, spec: {projectRef: {name: p}, %s}}}}`

// The policy finds a password in block and flow style, with and without quotes, also in the template of an AgentSet.
func TestThePolicies_Passwords_AreFoundInEachStyle(t *testing.T) {
	c := withCRDs(t)
	applyPolicies(t, c)
	send := func(namespace, manifest string) error {
		object := &unstructured.Unstructured{}
		decode(t, manifest, &object.Object)
		object.SetNamespace(namespace)
		return c.Create(t.Context(), object, client.DryRunAll)
	}
	written := func(kind, config string) string {
		return fmt.Sprintf(kind, fmt.Sprintf("type: fluentbit, version: v4.0.0, rawConfig: %q", config))
	}
	const ofAgent, ofSet = "spec.rawConfig: holds a password", "spec.template.spec.rawConfig: holds a password"
	for _, row := range []policyRow{
		{"a quoted key", written(agent, "outputs:\n  - name: es\n    \"http_passwd\": hunter2\n"), ofAgent},
		{"in one line", written(agent, "outputs: [{name: es, http_passwd: hunter2}]\n"), ofAgent},
		{"the first key in braces", written(agent, "outputs: [{'http_passwd': 'hunter2', name: es}]\n"), ofAgent},
		{"JSON", written(agent, `{"outputs":[{"name":"es","http_passwd":"hunter2"}]}`), ofAgent},
		{"an AgentSet", written(agentSet, "[OUTPUT]\n    HTTP_Passwd change-me\n"), ofSet},
	} {
		refusesSoon(t, row, send)
	}
	for name, manifest := range map[string]string{
		"supplied by the machine, in one line": written(agent, `outputs: [{name: es, http_passwd: "${PASSWORD}"}]`),
		"an AgentSet without a password":       written(agentSet, "[OUTPUT]\n    HTTP_Passwd ${PASSWORD}\n"),
		"an AgentSet with a ConfigMap": fmt.Sprintf(agentSet,
			"type: fluentbit, version: v4.0.0, rawConfigFrom: {configMapKeyRef: {name: s, key: k}}"),
		"a large configuration": written(agent, strings.Repeat("[INPUT]\n    Name cpu\n", 5_900)),
		"a list of names":       written(agent, "pipeline:\n  filters: [{name: lua, keys: [host, token]}]\n"),
	} {
		if err := send("default", manifest); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
