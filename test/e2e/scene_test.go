/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const (
	operator          = "calyptia-agent-operator" // release, chart, Deployment, ServiceAccount
	operatorNamespace = "calyptia-agent-operator-system"
	lease             = "calyptia-agent-operator.cloud.calyptia.com"
)

// patience is how long a test waits for an expected state.
const patience = 5 * time.Minute

// restricted makes a namespace refuse pods that do not pass the Pod Security Standard restricted.
var restricted = map[string]string{
	"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/warn": "restricted",
}

// run runs a program against the cluster, in the root of the repository.
func run(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = testenv.ModuleRoot()
	command.Env = append(os.Environ(), "KUBECONFIG="+here.kubeconfig, "HOME="+here.work,
		"PATH="+filepath.Dir(here.kubectl)+":"+filepath.Dir(here.helm)+":"+os.Getenv("PATH"))
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String() + errs.String(), nil
}

func helm(t testing.TB, args ...string) string {
	t.Helper()
	return must(run(t, here.helm, args...))(t)
}

func kubectl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := run(t, here.kubectl, args...)
	if err != nil {
		diagnose(t)
		t.Fatal(err)
	}
	return out
}

// must fails the test on an error.
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// quick is the polling interval of a test.
const quick = 100 * time.Millisecond

// eventually waits until check returns nil, and returns how long that took.
func eventually(t testing.TB, what string, check func(context.Context) error) time.Duration {
	t.Helper()
	return eventuallyEvery(t, quick, what, check)
}

func eventuallyEvery(t testing.TB, interval time.Duration, what string, check func(context.Context) error) time.Duration {
	t.Helper()
	began := time.Now()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), interval, patience, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		diagnose(t)
		t.Fatalf("%s: %v", what, last)
	}
	return time.Since(began)
}

// diagnose logs the first things to look at.
func diagnose(t testing.TB) {
	t.Helper()
	for _, args := range [][]string{
		{"get", "pods", "--all-namespaces", "--output=wide"},
		{"get", "events", "--all-namespaces", "--sort-by=.lastTimestamp", "--field-selector=type=Warning"},
		{"logs", "--namespace", operatorNamespace, "--selector=app.kubernetes.io/name=" + operator, "--tail=15", "--prefix"},
	} {
		out, err := run(t, here.kubectl, args...)
		t.Logf("kubectl %s\n%s%v", strings.Join(args, " "), out[max(0, len(out)-4000):], err)
	}
}

// install installs or upgrades the release and waits until its pods are Ready. Without values the chart is unchanged,
// except for the image and the host of the fake of Calyptia Cloud.
func install(t testing.TB, values ...string) {
	t.Helper()
	release(t, append(values, "--wait"))
}

// release installs or upgrades the release with the values; further flags begin with a dash.
func release(t testing.TB, values []string) {
	t.Helper()
	namespace(t, operatorNamespace, restricted)
	args := []string{"upgrade", "--install", operator, "charts/" + operator, "--namespace", operatorNamespace, "--reset-values",
		"--timeout=3m", "--set", "allowedHosts={" + cloudName + "}",
		"--set", "image.repository=" + repository(), "--set", "image.tag=" + operatorTag, "--set", "tests.image=" + image(kubectlImage)}
	for _, value := range values {
		if strings.HasPrefix(value, "-") {
			args = append(args, value)
		} else {
			args = append(args, "--set", value)
		}
	}
	if _, err := run(t, here.helm, args...); err != nil {
		diagnose(t)
		t.Fatal(err)
	}
}

// uninstall removes the release, if there is one.
func uninstall(t testing.TB) {
	t.Helper()
	helm(t, "uninstall", operator, "--namespace", operatorNamespace, "--wait", "--ignore-not-found")
}

// namespace creates a namespace unless it exists.
func namespace(t testing.TB, name string, labels map[string]string) {
	t.Helper()
	err := here.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// pods are the operator's pods that are not being deleted.
func pods(ctx context.Context) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := here.client.List(ctx, &list, client.InNamespace(operatorNamespace),
		client.MatchingLabels{"app.kubernetes.io/name": operator, "control-plane": "controller-manager"})
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil }), err
}

func ready(p *corev1.Pod) bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// allReady is an error until there is this number of pods, and all are Ready.
func allReady(ctx context.Context, count int) error {
	running, err := pods(ctx)
	if err != nil {
		return err
	}
	for i := range running {
		if !ready(&running[i]) {
			return fmt.Errorf("pod %s is not Ready: %v", running[i].Name, running[i].Status.ContainerStatuses)
		}
	}
	if len(running) != count {
		return fmt.Errorf("there are %d pods", len(running))
	}
	return nil
}

// restarts is the number of restarts of the operator's containers.
func restarts(t testing.TB) (count int32) {
	t.Helper()
	for _, pod := range must(pods(t.Context()))(t) {
		for _, status := range pod.Status.ContainerStatuses {
			count += status.RestartCount
		}
	}
	return count
}

// leader is the pod that holds the lease.
func leader(ctx context.Context) (*corev1.Pod, error) {
	var l coordinationv1.Lease
	if err := here.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: lease}, &l); err != nil {
		return nil, err
	}
	if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
		return nil, errors.New("nobody holds the lease")
	}
	name, _, _ := strings.Cut(*l.Spec.HolderIdentity, "_")
	var pod corev1.Pod
	err := here.client.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: name}, &pod)
	return &pod, err
}

// theLeader waits until a pod other than the last leader is the leader.
func theLeader(t testing.TB, before string) (pod *corev1.Pod) {
	t.Helper()
	eventually(t, "no other pod leads than "+before, func(ctx context.Context) (err error) {
		if pod, err = leader(ctx); err == nil && pod.Name == before {
			err = errors.New(before + " still leads")
		}
		return err
	})
	return pod
}
