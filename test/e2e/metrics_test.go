/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// forged has the form of a token of a ServiceAccount.
const forged = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"

// A pod reads the metrics through the Service, by its DNS name, with the token that the kubelet gave it.
func TestMetricsThroughTheService(t *testing.T) {
	const monitoring = "monitoring"
	namespace(t, monitoring, restricted)
	for _, name := range []string{"reader", "stranger"} {
		err := here.client.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: monitoring, Name: name}})
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	install(t, "metrics.rbac.readers[0].kind=ServiceAccount", "metrics.rbac.readers[0].name=reader",
		"metrics.rbac.readers[0].namespace="+monitoring)
	for _, row := range []struct {
		name, account string
		args          []string
		status, says  string
	}{
		{"a reader reads them", "reader", []string{"--token-file=/token/token"}, "200", "calyptia_agent_operator_build_info"}, // which every replica has
		{"an authenticated stranger is forbidden", "stranger", []string{"--token-file=/token/token"}, "403", ""},
		{"a request without a token is unauthorized", "stranger", nil, "401", ""},
		{"an unknown token is unauthorized", "stranger", []string{"--token=made-up"}, "401", ""},
		{"a forged ServiceAccount token is unauthorized", "stranger", []string{"--token=" + forged}, "401", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			url := "https://" + operator + "-metrics." + operatorNamespace + ".svc.cluster.local:8443/metrics"
			out := fetch(t, monitoring, row.account, append(row.args, url)...)
			status, body, _ := strings.Cut(out, "\n")
			if status != row.status || !strings.Contains(body, row.says) {
				t.Errorf("the response is %.400s", out)
			}
		})
	}
}

// fetch runs that program in a pod of a ServiceAccount, and returns its output.
func fetch(t testing.TB, namespace, account string, args ...string) string {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "fetch-"},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever, ServiceAccountName: account, AutomountServiceAccountToken: new(false),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: new(int64(65532)),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "fetch", Image: image(fetchImage), Args: args,
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "token", MountPath: "/token"}},
			}},
			Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{
					ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: new(int64(600))},
				}},
			}}}},
		},
	}
	if err := here.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pod does not end", func(ctx context.Context) error {
		if err := here.client.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
			return fmt.Errorf("it is %s: %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		return nil
	})
	stream := must(here.kube.CoreV1().Pods(namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).Stream(t.Context()))(t)
	defer stream.Close()
	return string(must(io.ReadAll(stream))(t))
}
