/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package publish_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Agents are older than a policy that they violate. The operator still has to remove their finalizer: otherwise they, and the
// namespaces that they are in, cannot be deleted.
func TestTheOperatorReleasesAgentsOlderThanThePolicies(t *testing.T) {
	c := withCRDs(t)
	older := map[string]string{
		"agent-owner-labels":      `type: fluentbit, version: v4.0.0, rawConfig: x`,
		"agent-versions":          `type: fluentbit, version: v1.8.6, rawConfig: x`,
		"agent-no-inline-secrets": `type: fluentbit, version: v4.0.0, rawConfig: "[OUTPUT]\n    HTTP_Passwd change-me\n"`,
		"agent-configmaps-only":   `type: fluentbit, version: v4.0.0, rawConfigFrom: {secretKeyRef: {name: s, key: k}}`,
	}
	made := func(name, spec string) *unstructured.Unstructured {
		object := &unstructured.Unstructured{}
		decode(t, fmt.Sprintf(agent, spec), &object.Object)
		object.SetNamespace("default")
		object.SetName(name)
		if name == "agent-owner-labels" {
			object.SetLabels(nil)
		}
		return object
	}
	for name, spec := range older {
		object := made(name, spec)
		object.SetFinalizers([]string{"cloud.calyptia.com/agent"})
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		if err := c.Delete(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	applyPolicies(t, c)
	for name, spec := range older {
		err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
			created := made(name, spec)
			created.SetName("new-" + name)
			return c.Create(t.Context(), created, client.DryRunAll) != nil, nil
		})
		if err != nil {
			t.Fatalf("%s takes no effect: %v", name, err)
		}
		err = c.Patch(t.Context(), made(name, spec), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		if err != nil {
			t.Errorf("the finalizer of an Agent that is older than %s cannot be removed: %v", name, err)
		}
	}
}
