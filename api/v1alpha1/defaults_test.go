/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package v1alpha1_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	status "github.com/calyptia-agent-operator/operator/internal/testenv/kstatus"
)

func TestDefaultsOfAnAgent(t *testing.T) {
	created := newObject(t, "Agent", newNamespace(t), "minimal", `{type: fluentbit, version: v4.0.0, rawConfig: a}`)
	noError(t, kube.Create(t.Context(), created))
	var got v1alpha1.Agent
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &got))
	want := v1alpha1.Agent{
		Spec:   v1alpha1.AgentSpec{Type: "fluentbit", Version: "v4.0.0", RawConfig: "a", SyncPolicy: v1alpha1.SyncEnforce},
		Status: v1alpha1.AgentStatus{ObservedGeneration: -1},
	}
	if diff := cmp.Diff(want, got, withoutMeta); diff != "" {
		t.Errorf("a minimal Agent (-want +got):\n%s", diff)
	}
	inProgress(t, created)
}

func TestDefaultsOfAnAgentSet(t *testing.T) {
	created := newObject(t, "AgentSet", newNamespace(t), "minimal", minimalSet)
	noError(t, kube.Create(t.Context(), created))
	var got v1alpha1.AgentSet
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &got))
	want := v1alpha1.AgentSet{
		Spec: v1alpha1.AgentSetSpec{
			TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: "fluent-bit"},
			Template: v1alpha1.AgentTemplate{Spec: v1alpha1.AgentSpec{
				Type: "fluentbit", Version: "v4.0.0", RawConfig: "[INPUT]\n    Name cpu\n", SyncPolicy: v1alpha1.SyncEnforce,
			}},
			Sessions:     v1alpha1.AgentSetSessions{Shards: 1},
			RemovalDelay: &metav1.Duration{Duration: 10 * time.Minute},
		},
		Status: v1alpha1.AgentSetStatus{ObservedGeneration: -1},
	}
	if diff := cmp.Diff(want, got, withoutMeta); diff != "" {
		t.Errorf("a minimal AgentSet (-want +got):\n%s", diff)
	}
	inProgress(t, created)
}

func TestDefaultsOfACloudProject(t *testing.T) {
	created := newObject(t, "CloudProject", newNamespace(t), "minimal", `{tokenSecretRef: {name: a}}`)
	noError(t, kube.Create(t.Context(), created))
	var got v1alpha1.CloudProject
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &got))
	want := v1alpha1.CloudProject{
		Spec: v1alpha1.CloudProjectSpec{
			URL:               "https://cloud-api.calyptia.com",
			TokenSecretRef:    v1alpha1.TokenSecretReference{Name: "a", Key: "token"},
			Authentication:    v1alpha1.AuthenticationAuto,
			AllowedNamespaces: &v1alpha1.AllowedNamespaces{From: v1alpha1.NamespacesFromSame},
			Adoption:          v1alpha1.AdoptionSameNamespace,
			RateLimit:         &v1alpha1.RateLimit{RequestsPerSecond: ptr.To[int32](10), Burst: ptr.To[int32](20)},
			ResyncInterval:    &metav1.Duration{Duration: 10 * time.Minute},
		},
		Status: v1alpha1.CloudProjectStatus{ObservedGeneration: -1},
	}
	if diff := cmp.Diff(want, got, withoutMeta); diff != "" {
		t.Errorf("a minimal CloudProject (-want +got):\n%s", diff)
	}
	inProgress(t, created)
}

func TestDefaultsInsideOfAHalfGivenRateLimit(t *testing.T) {
	created := newObject(t, "CloudProject", newNamespace(t), "half", minimalProject, `{rateLimit: {burst: 5}, allowedNamespaces: {}}`)
	noError(t, kube.Create(t.Context(), created))
	var got v1alpha1.CloudProject
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &got))
	want := &v1alpha1.RateLimit{RequestsPerSecond: ptr.To[int32](10), Burst: ptr.To[int32](5)}
	if diff := cmp.Diff(want, got.Spec.RateLimit); diff != "" {
		t.Errorf("rate limit (-want +got):\n%s", diff)
	}
	if got.Spec.AllowedNamespaces.From != v1alpha1.NamespacesFromSame {
		t.Errorf("namespaces from %q, want Same", got.Spec.AllowedNamespaces.From)
	}
}

func TestObjectsOfAGoClientAreInProgressToo(t *testing.T) {
	namespace := newNamespace(t)
	agent := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a"},
		Spec:       v1alpha1.AgentSpec{Type: v1alpha1.AgentTypeFluentd, Version: "v1.18.0", RawConfig: "a"},
	}
	noError(t, kube.Create(t.Context(), agent))
	inProgress(t, newObject(t, "Agent", namespace, "a"))
	set := &v1alpha1.AgentSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a"},
		Spec: v1alpha1.AgentSetSpec{
			TargetRef: v1alpha1.WorkloadReference{Kind: v1alpha1.TargetDaemonSet, Name: "a"},
			Template:  v1alpha1.AgentTemplate{Spec: v1alpha1.AgentSpec{Type: v1alpha1.AgentTypeFluentd, Version: "v1.18.0", RawConfig: "a"}},
		},
	}
	noError(t, kube.Create(t.Context(), set))
	inProgress(t, newObject(t, "AgentSet", namespace, "a"))
	project := &v1alpha1.CloudProject{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "a"},
		Spec:       v1alpha1.CloudProjectSpec{TokenSecretRef: v1alpha1.TokenSecretReference{Name: "a"}},
	}
	noError(t, kube.Create(t.Context(), project))
	inProgress(t, newObject(t, "CloudProject", namespace, "a"))
}

func TestNoFlagsAndUnmanagedFlagsStayApart(t *testing.T) {
	namespace := newNamespace(t)
	for name, flags := range map[string][]string{"unmanaged": nil, "cleared": {}} {
		spec := `{}`
		if flags != nil {
			spec = `{flags: []}`
		}
		created := newObject(t, "Agent", namespace, name, minimalAgent, spec)
		noError(t, kube.Create(t.Context(), created))
		var got v1alpha1.Agent
		noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &got))
		if diff := cmp.Diff(flags, got.Spec.Flags); diff != "" {
			t.Errorf("%s flags (-want +got):\n%s", name, diff)
		}

		got.Spec.Suspend = true
		noError(t, kube.Update(t.Context(), &got))
		var after v1alpha1.Agent
		noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(created), &after))
		if diff := cmp.Diff(flags, after.Spec.Flags); diff != "" {
			t.Errorf("%s flags after an update by the Go type (-want +got):\n%s", name, diff)
		}
	}
}

var withoutMeta = cmpopts.IgnoreTypes(metav1.TypeMeta{}, metav1.ObjectMeta{})

// inProgress asserts that object, as the API server has it, waits for its controller: tools must not take it for done.
func inProgress(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	noError(t, kube.Get(t.Context(), client.ObjectKeyFromObject(object), object))
	result, err := status.Compute(object)
	noError(t, err)
	if result.Status != status.InProgressStatus {
		t.Errorf("%s without a controller is %s, want InProgress", object.GetKind(), result.Status)
	}
}
