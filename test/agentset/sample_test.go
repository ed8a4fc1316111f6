/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentset"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// sample reads a file of the sample, and rejects unknown fields.
func sample[T any](t *testing.T, name string, decode func([]byte, any, ...yaml.JSONOpt) error) *T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), "config", "samples", "fluent-bit-daemonset", name))
	if err != nil {
		t.Fatal(err)
	}
	into := new(T)
	if err := decode(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return into
}

func TestTheSampleFitsTogether(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	dir := filepath.Join(testenv.ModuleRoot(), "config", "samples", "fluent-bit-daemonset")
	output, err := harness.Plane().Kubectl(t.Context(), "apply", "-k", dir, "--dry-run=server", "-n", w.Namespace).CombinedOutput()
	if err != nil || strings.Contains(string(output), "Warning") || strings.Count(string(output), "\n") != 3 {
		t.Errorf("%v: %s", err, output)
	}
	set := sample[v1alpha1.AgentSet](t, "agentset.yaml", yaml.UnmarshalStrict)
	ds := sample[appsv1.DaemonSet](t, "daemonset.yaml", yaml.UnmarshalStrict)
	chart := sample[struct {
		InitContainers []corev1.Container `json:"initContainers"`
		ExtraVolumes   []corev1.Volume    `json:"extraVolumes"`
	}](t, "helm-values.yaml", yaml.Unmarshal)
	if set.Spec.TargetRef.Name != ds.Name {
		t.Errorf("the AgentSet is for %s", set.Spec.TargetRef.Name)
	}
	want := agentset.SecretName(set.Name, set.Spec.Sessions.SecretName, 0)
	for name, volumes := range map[string][]corev1.Volume{"daemonset.yaml": ds.Spec.Template.Spec.Volumes, "helm-values.yaml": chart.ExtraVolumes} {
		found := ""
		for _, volume := range volumes {
			if volume.Projected != nil {
				found = volume.Projected.Sources[0].Secret.Name
			}
		}
		if found != want {
			t.Errorf("%s mounts the sessions from %q, and they are in %q", name, found, want)
		}
	}
	for _, mount := range ds.Spec.Template.Spec.Containers[0].VolumeMounts {
		if mount.Name == "sessions" {
			t.Error("Fluent Bit sees the sessions of other nodes")
		}
	}
}

// Except for the host paths, it passes the Pod Security Standard baseline.
func TestTheSampleNeedsOnlyHostPaths(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	var namespace corev1.Namespace
	w.Read(client.ObjectKey{Name: w.Namespace}, &namespace)
	namespace.Labels["pod-security.kubernetes.io/enforce"] = "baseline"
	if err := w.Client.Update(t.Context(), &namespace); err != nil {
		t.Fatal(err)
	}
	ds := sample[appsv1.DaemonSet](t, "daemonset.yaml", yaml.UnmarshalStrict)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "fluent-bit"}, Spec: ds.Spec.Template.Spec}
	create := func() error { return w.Client.Create(context.Background(), pod.DeepCopy(), client.DryRunAll) }
	if err := create(); err == nil || !strings.Contains(err.Error(), "hostPath") || strings.Count(err.Error(), "(") != 1 {
		t.Errorf("with files of the host: %v", err)
	}
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].HostPath != nil {
			pod.Spec.Volumes[i].VolumeSource = corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
		}
	}
	if err := create(); err != nil {
		t.Errorf("without: %v", err)
	}
}
