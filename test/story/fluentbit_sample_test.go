/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/tokensecret"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

var fluentBitSample = filepath.Join(testenv.ModuleRoot(), "config", "samples", "fluent-bit")

// sample reads a file of the sample, and rejects unknown fields.
func sample[T any](t *testing.T, name string) *T {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(fluentBitSample, name))
	if err != nil {
		t.Fatal(err)
	}
	into := new(T)
	if err := yaml.UnmarshalStrict(content, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return into
}

// chartValues are the values of the chart fluent/fluent-bit 0.58.1 that the sample sets.
type chartValues struct {
	Kind              string                    `json:"kind"`
	ReplicaCount      int32                     `json:"replicaCount"`
	UpdateStrategy    appsv1.DeploymentStrategy `json:"updateStrategy"`
	FullnameOverride  string                    `json:"fullnameOverride"`
	Image             struct{ Tag string }      `json:"image"`
	ExistingConfigMap string                    `json:"existingConfigMap"`
	Args              []string                  `json:"args"`
	Env               []corev1.EnvVar           `json:"env"`
	ServiceAccount    struct {
		AutomountServiceAccountToken *bool `json:"automountServiceAccountToken"`
	} `json:"serviceAccount"`
	RBAC struct {
		Create bool `json:"create"`
	} `json:"rbac"`
	PodSecurityContext *corev1.PodSecurityContext  `json:"podSecurityContext"`
	SecurityContext    *corev1.SecurityContext     `json:"securityContext"`
	InitContainers     []corev1.Container          `json:"initContainers"`
	ExtraVolumes       []corev1.Volume             `json:"extraVolumes"`
	ExtraVolumeMounts  []corev1.VolumeMount        `json:"extraVolumeMounts"`
	ExtraPorts         []chartPort                 `json:"extraPorts"`
	Resources          corev1.ResourceRequirements `json:"resources"`
}

type chartPort struct {
	Name          string          `json:"name"`
	Port          int32           `json:"port"`
	ContainerPort int32           `json:"containerPort"`
	Protocol      corev1.Protocol `json:"protocol"`
}

// pod is the pod that the chart makes from the values.
func (v *chartValues) pod() corev1.PodSpec {
	ports := []corev1.ContainerPort{{Name: "http", ContainerPort: 2020}}
	for _, p := range v.ExtraPorts {
		ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
	}
	config := corev1.Volume{Name: "config"}
	config.ConfigMap = &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: v.ExistingConfigMap}}
	return corev1.PodSpec{
		AutomountServiceAccountToken: v.ServiceAccount.AutomountServiceAccountToken,
		SecurityContext:              v.PodSecurityContext,
		InitContainers:               v.InitContainers,
		Containers: []corev1.Container{{
			Name: "fluent-bit", Image: "cr.fluentbit.io/fluent/fluent-bit:" + v.Image.Tag,
			Command: []string{"/fluent-bit/bin/fluent-bit"}, Args: v.Args, Env: v.Env, Ports: ports,
			SecurityContext: v.SecurityContext, Resources: v.Resources,
			VolumeMounts: append([]corev1.VolumeMount{{Name: "config", MountPath: "/fluent-bit/etc/conf"}}, v.ExtraVolumeMounts...),
		}},
		Volumes: append([]corev1.Volume{config}, v.ExtraVolumes...),
	}
}

func samplePods(t *testing.T) map[string]corev1.PodSpec {
	t.Helper()
	return map[string]corev1.PodSpec{
		"deployment.yaml":  sample[appsv1.Deployment](t, "deployment.yaml").Spec.Template.Spec,
		"helm-values.yaml": sample[chartValues](t, "helm-values.yaml").pod(),
	}
}

func TestTheFluentBitSampleIsAdmitted(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	output, err := harness.Plane().Kubectl(t.Context(), "apply", "-k", fluentBitSample, "--dry-run=server", "-n", w.Namespace).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	want := []string{"configmap/aggregator", "service/aggregator", "deployment.apps/aggregator", "agent.cloud.calyptia.com/aggregator"}
	for _, line := range want {
		if !strings.Contains(string(output), line+" created (server dry run)\n") {
			t.Errorf("%s is not in:\n%s", line, output)
		}
	}
	if n := strings.Count(string(output), "\n"); n != len(want) {
		t.Errorf("%d lines, want %d, and no warning:\n%s", n, len(want), output)
	}
}

func TestTheFluentBitSamplePassesRestrictedPodSecurity(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	patchNamespace(t, w, w.Namespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	for name, spec := range samplePods(t) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: w.Namespace, Name: "aggregator"}, Spec: spec}
		if err := w.Client.Create(context.Background(), pod.DeepCopy(), client.DryRunAll); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
			if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; readOnly == nil || !*readOnly {
				t.Errorf("%s: container %s may write to its root", name, container.Name)
			}
		}
		// Without its security settings it would not be admitted.
		pod.Spec.Containers[0].SecurityContext = nil
		if err := w.Client.Create(context.Background(), pod, client.DryRunAll); err == nil {
			t.Errorf("%s: any pod passes", name)
		}
	}
}

// The parts fit together: the pod consumes exactly what the operator produces for the Agent.
func TestTheFluentBitSampleRunsAsItsAgent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	config := sample[corev1.ConfigMap](t, "configmap.yaml")
	config.Namespace = w.Namespace
	w.Create(config)
	agent := sample[v1alpha1.Agent](t, "agent.yaml")
	agent.Namespace = w.Namespace
	w.Create(agent)
	a := w.Ready("aggregator")
	secret := a.Status.SessionSecretRef.Name
	if remote := w.One("aggregator"); remote.RawConfig != config.Data["fluent-bit.yaml"] {
		t.Errorf("Calyptia Cloud has another configuration: %s", remote.RawConfig)
	}
	keys := slices.Sorted(maps.Keys(w.Secret(secret).Data))
	for name, spec := range samplePods(t) {
		var secrets, configs []string
		for _, volume := range spec.Volumes {
			if volume.Secret != nil {
				secrets = append(secrets, volume.Secret.SecretName)
			}
			if volume.ConfigMap != nil {
				configs = append(configs, volume.ConfigMap.Name)
			}
		}
		if !slices.Equal(secrets, []string{secret}) || !slices.Equal(configs, []string{config.Name}) {
			t.Errorf("%s: it mounts the Secrets %v and the ConfigMaps %v", name, secrets, configs)
		}
		fluentBit, init := spec.Containers[0], spec.InitContainers[0]
		if len(fluentBit.EnvFrom)+len(init.EnvFrom) != 0 || len(init.Env) != 0 || len(fluentBit.Env) != 1 || fluentBit.Env[0].ValueFrom != nil {
			t.Errorf("%s: its environment holds more than its name", name)
		}
		mounts := map[string]string{}
		for _, mount := range fluentBit.VolumeMounts {
			mounts[mount.Name] = mount.MountPath
		}
		if mounts["store"] != tokensecret.StorePath || spec.InitContainers[0].VolumeMounts[1].MountPath != tokensecret.StorePath {
			t.Errorf("%s: the session is not where calyptia.yaml says: %v", name, mounts)
		}
		if init.VolumeMounts[0].MountPath != "/session" || !slices.Contains(keys, tokensecret.SessionKey) {
			t.Errorf("%s: the session comes from %s, and the Secret has %v", name, init.VolumeMounts[0].MountPath, keys)
		}
		include := "\n  - " + mounts["session"] + "/" + tokensecret.YAMLKey + " "
		if !strings.Contains(config.Data["fluent-bit.yaml"], include) || !slices.Contains(keys, tokensecret.YAMLKey) {
			t.Errorf("%s: the configuration does not include%s", name, include)
		}
		// Fluent Bit reports what the Agent declares, except for the configuration.
		if fluentBit.Env[0].Value != a.Spec.Name || !strings.HasSuffix(fluentBit.Image, ":"+a.Spec.Version) {
			t.Errorf("%s: %s and %s would be drift", name, fluentBit.Env[0].Value, fluentBit.Image)
		}
	}
}
