/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package gitops_test

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	own "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

// TestOurStatusFunctionMatchesKstatus compares, for every combination of inputs, the function that the operator's tests
// use with the library that it replaces.
func TestOurStatusFunctionMatchesKstatus(t *testing.T) {
	statuses := []string{"", "True", "False", "Unknown"}
	seen := map[own.Status]int{}
	for _, order := range [][]string{{"Ready", "Reconciling", "Stalled"}, {"Stalled", "Reconciling", "Ready"}} {
		for n := range 64 {
			var conditions []any
			for i, kind := range order {
				if status := statuses[n>>(2*i)&3]; status != "" {
					conditions = append(conditions, map[string]any{"type": kind, "status": status, "reason": "R", "message": "m",
						"lastTransitionTime": "2026-01-02T03:04:05Z"})
				}
			}
			for _, observed := range []any{nil, int64(-1), int64(1), int64(2)} {
				for _, deleted := range []any{nil, "2026-01-02T03:04:05Z"} {
					object := &unstructured.Unstructured{Object: map[string]any{
						"apiVersion": "cloud.calyptia.com/v1alpha1", "kind": "Agent",
						"metadata": map[string]any{"name": "a", "generation": int64(2)}, "status": map[string]any{"conditions": conditions},
					}}
					if observed != nil {
						object.Object["status"].(map[string]any)["observedGeneration"] = observed
					}
					if deleted != nil {
						object.Object["metadata"].(map[string]any)["deletionTimestamp"] = deleted
					}
					want, err := status.Compute(object)
					if err != nil {
						t.Fatal(err)
					}
					got, err := own.Compute(object)
					if err != nil || string(got.Status) != string(want.Status) {
						t.Fatalf("%v: %v %v, want %v", object.Object, got, err, want.Status)
					}
					seen[got.Status]++
				}
			}
		}
	}
	if len(seen) != 4 {
		t.Errorf("the combinations give %v", seen)
	}
}
