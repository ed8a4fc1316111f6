/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

const aggregator = "aggregator" // name of all objects of the sample

// The sample runs as its page describes, in a namespace that enforces Pod Security: its pod waits for the session, an init
// container copies it, and Fluent Bit reports as its agent.
func TestTheFluentBitSample(t *testing.T) {
	install(t)
	w := newTeam(t)
	w.applySample()
	kubectl(t, "rollout", "status", "deployment", aggregator, "--namespace", w.namespace, "--timeout=4m")
	id := w.reports("")

	remote, _ := here.cloud.Agent(id)
	if remote.MetricsCount == 0 || remote.Name != aggregator || !strings.HasPrefix(remote.Version, "5.1.") {
		t.Errorf("the remote agent is %s %s, with %d metrics", remote.Name, remote.Version, remote.MetricsCount)
	}
	if got := w.registrations(); got != 1 {
		t.Errorf("%d registrations were sent, want the operator's", got)
	}
	for _, r := range here.cloud.Requests() {
		if r.Header.Get("X-Project-Token") == "none" || r.Route == cloudtest.RouteMetrics && r.Status != http.StatusCreated {
			t.Errorf("%s %s returned %d", r.Method, r.Path, r.Status)
		}
	}

	t.Run("a session is renewed as the page describes", func(t *testing.T) {
		w := *w
		w.TB = t
		here.cloud.Remove(id)
		w.look(aggregator)
		eventually(t, "the agent is not registered again", func(ctx context.Context) error {
			if a := w.aggregator(ctx); a.Status.ID == id || !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
				return fmt.Errorf("it is %s, %v", a.Status.ID, a.Status.Conditions)
			}
			return nil
		})
		kubectl(t, "rollout", "restart", "deployment", aggregator, "--namespace", w.namespace)
		kubectl(t, "rollout", "status", "deployment", aggregator, "--namespace", w.namespace, "--timeout=4m")
		w.reports(id)
	})
	w.leave()
}

// applySample applies the sample unchanged, and then, as its page describes for a private CA, a bundle with the CA over
// that of the image.
func (w *team) applySample() {
	w.Helper()
	kubectl(w, "apply", "-k", "config/samples/fluent-bit", "--namespace", w.namespace)
	var d appsv1.Deployment
	if err := here.client.Get(w.Context(), client.ObjectKey{Namespace: w.namespace, Name: aggregator}, &d); err != nil {
		w.Fatal(err)
	}
	base := d.DeepCopy()
	spec := &d.Spec.Template.Spec
	trustTheCA(spec)
	spec.Containers[0].Image, spec.InitContainers[0].Image = image(spec.Containers[0].Image), image(spec.InitContainers[0].Image)
	if err := here.client.Patch(w.Context(), &d, client.MergeFrom(base)); err != nil {
		w.Fatal(err)
	}
}

// trustTheCA mounts the private CA as docs/fluent-bit.md says.
func trustTheCA(spec *corev1.PodSpec) {
	spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "ca", VolumeSource: corev1.VolumeSource{
		ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "calyptia"}},
	}})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{
		Name: "ca", MountPath: "/etc/ssl/certs/ca-bundle.crt", SubPath: "ca.crt",
	})
}

func (w *team) aggregator(ctx context.Context) *v1alpha1.Agent {
	w.Helper()
	var a v1alpha1.Agent
	if err := here.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: aggregator}, &a); err != nil {
		w.Fatal(err)
	}
	return &a
}

// look requests a sync of an agent now.
func (w *team) look(name string) {
	w.Helper()
	kubectl(w, "annotate", "agents.cloud.calyptia.com", name, "--namespace", w.namespace, "--overwrite",
		"cloud.calyptia.com/reconcile-at="+metav1.NowMicro().Format(metav1.RFC3339Micro))
}

// reports waits until the operator sees that the agent reports, and returns its ID, which differs from the last one.
func (w *team) reports(before string) (id string) {
	w.Helper()
	eventually(w, "no metrics arrive", func(ctx context.Context) error {
		id = w.aggregator(ctx).Status.ID
		if remote, _ := here.cloud.Agent(id); id == before || remote.MetricsCount == 0 {
			return fmt.Errorf("agent %s has sent none", id)
		}
		return nil
	})
	w.look(aggregator)
	kubectl(w, "wait", "agents.cloud.calyptia.com", aggregator, "--namespace", w.namespace, "--for=condition=Reporting", "--timeout=2m")
	return id
}
