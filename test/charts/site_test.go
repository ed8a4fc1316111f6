/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// agentsNamespace is the namespace of the release "agents" in the README.
const agentsNamespace = "logging"

// site is an empty cluster, a fake cloud, and a directory to run commands in.
type site struct {
	*testing.T
	plane     *testenv.ControlPlane
	c         client.Client
	cloud     *cloudtest.Server
	projectID string
	url       string
	dir       string
	running   *operator
	env       []string // of the operator and of the commands
	first     string   // directory of commands that take precedence
}

func newSite(t *testing.T) *site {
	t.Helper()
	start := <-bare
	t.Cleanup(func() { bare <- start })
	plane := must(start())(t)
	s := &site{T: t, plane: plane, c: admin(t, plane), cloud: cloudtest.New(cloudtest.Settings{}), projectID: uuid.NewString(), dir: t.TempDir()}
	http := s.cloud.Start()
	t.Cleanup(http.Close)
	s.url = http.URL
	for _, part := range []string{"charts", "docs"} {
		if err := os.Symlink(filepath.Join(testenv.ModuleRoot(), part), filepath.Join(s.dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.c.Get(t.Context(), client.ObjectKey{Name: agentsNamespace}, &corev1.Namespace{}); err != nil {
		createNamespace(t, s.c, agentsNamespace)
	}
	// An operator that was uninstalled while it ran could not release its lease.
	if err := s.c.DeleteAllOf(t.Context(), &coordinationv1.Lease{}, client.InNamespace(operatorNamespace)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			s.clear(context.Background())
		}
	})
	return s
}

// clear removes what a failed test left: it may wait for an operator that no longer runs.
func (s *site) clear(ctx context.Context) {
	s.logLeft(ctx)
	if out, err := shell(ctx, s, s.plane, ".", readme(s, "give-up")); err != nil {
		s.Log(err, out)
	}
	for _, crd := range []string{"agents", "agentsets", "cloudprojects"} {
		object := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: crd + ".cloud.calyptia.com"}}
		if err := client.IgnoreNotFound(s.c.Delete(ctx, object)); err != nil {
			s.Error(err)
		}
	}
	for _, name := range []string{agentsNamespace, operatorNamespace} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := client.IgnoreNotFound(s.c.Delete(ctx, namespace)); err != nil {
			s.Error(err)
		}
		err := await.Until(ctx, "the namespace stays", func(ctx context.Context) error {
			if err := s.c.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); client.IgnoreNotFound(err) != nil || err == nil {
				return fmt.Errorf("%v, %w", namespace.Status.Conditions, err)
			}
			return nil
		})
		if err != nil {
			s.Error(err)
		}
	}
}

// logLeft logs the kinds and what is left of each, with what a deletion waits for.
func (s *site) logLeft(ctx context.Context) {
	var kinds apiextensionsv1.CustomResourceDefinitionList
	if err := s.c.List(ctx, &kinds); err != nil {
		s.Log(err)
	}
	for i := range kinds.Items {
		kind := &kinds.Items[i]
		s.Logf("%s: deleted %v, finalizers %v, %v", kind.Name, kind.DeletionTimestamp, kind.Finalizers, kind.Status.Conditions)
		var left metav1.PartialObjectMetadataList
		left.SetGroupVersionKind(schema.GroupVersionKind{Group: kind.Spec.Group, Version: kind.Spec.Versions[0].Name, Kind: kind.Spec.Names.ListKind})
		if err := s.c.List(ctx, &left); err != nil {
			s.Log(err)
		}
		for _, o := range left.Items {
			s.Logf("%s %s/%s: deleted %v, finalizers %v", kind.Spec.Names.Kind, o.Namespace, o.Name, o.DeletionTimestamp, o.Finalizers)
		}
	}
}

// helm runs helm on the site, or ends the test.
func (s *site) helm(args ...string) string {
	s.Helper()
	return must(helm(s, s.plane, args...))(s)
}

// operatorValues writes the file that the README names: values for this site, and others.
func (s *site) operatorValues(more values) string {
	s.Helper()
	metrics, probes := freePorts(s)
	v := merge(values{"allowedHosts": []string{"127.0.0.1"}, "allowInsecureHTTP": true,
		"image": values{"repository": "registry.example.com/calyptia-agent-operator", "tag": "test"}}, more)
	v = merge(v, values{"probes": values{"port": probes}, "metrics": values{"port": metrics}})
	path := filepath.Join(s.dir, "operator-values.yaml")
	if err := os.WriteFile(path, must(yaml.Marshal(v))(s), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// run runs the operator as the Deployment in the cluster describes.
func (s *site) run() {
	s.Helper()
	deployment := s.deployment()
	s.running = startOperator(s, s.plane, deployment, s.env...)
	if err := s.running.ready(s.Context(), deployment); err != nil {
		s.Fatal(err)
	}
	s.available()
}

// available sets the status that a kubelet would, as there is none.
func (s *site) available() {
	s.Helper()
	deployment := s.deployment()
	base := deployment.DeepCopy()
	deployment.Status.Conditions = []appsv1.DeploymentCondition{
		{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"}}
	if err := s.c.Status().Patch(s.Context(), deployment, client.MergeFrom(base)); err != nil {
		s.Fatal(err)
	}
}

func (s *site) deployment() *appsv1.Deployment {
	s.Helper()
	var deployment appsv1.Deployment
	if err := s.c.Get(s.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: operatorName}, &deployment); err != nil {
		s.Fatal(err)
	}
	return &deployment
}

// types runs commands of the README.
func (s *site) types(block string) string {
	s.Helper()
	return s.shell(readme(s, block))
}

// shell runs commands.
func (s *site) shell(commands string) string {
	s.Helper()
	if s.first != "" {
		commands = "PATH=" + s.first + ":$PATH\n" + commands
	}
	return must(shell(s.Context(), s, s.plane, s.dir, commands, s.env...))(s)
}

// readme is a block of commands of the chart's README, by the word after its "sh".
func readme(t testing.TB, block string) string {
	t.Helper()
	content := must(os.ReadFile(filepath.Join(operatorChart, "README.md")))(t)
	match := regexp.MustCompile("(?s)```sh " + block + "\n(.*?)```").FindSubmatch(content)
	if match == nil {
		t.Fatalf("the README has no commands %q", block)
	}
	return string(match[1])
}

// agents installs the chart of the agents, and waits for them with helm.
func (s *site) agents(args ...string) {
	s.Helper()
	// In a file, because a failure prints the command line.
	token := valuesFile(s, values{"cloudProjects": values{"calyptia": values{
		"token": s.cloud.AddProject(s.projectID).Reveal(), "spec": values{"url": s.url}}}})
	s.helm(append([]string{"upgrade", "--install", "agents", agentsChart, "--namespace", agentsNamespace, "--wait", "--timeout=60s",
		"--values", "testdata/agents-values.yaml", "--values", token}, args...)...)
}

// remote checks the number of remote agents.
func (s *site) remote(want int) {
	s.Helper()
	if got := s.cloud.Agents(s.projectID); len(got) != want {
		s.Errorf("%d remote agents, want %d", len(got), want)
	}
}

// nothingHangs looks for Agents, CloudProjects and Secrets whose deletion hangs.
func (s *site) nothingHangs() {
	s.Helper()
	err := await.Until(s.Context(), "something is left", func(ctx context.Context) error {
		var errs []error
		for _, kind := range []string{"Agent", "CloudProject", "Secret"} {
			list := &unstructured.UnstructuredList{}
			list.SetAPIVersion(v1alpha1.GroupVersion.String())
			if kind == "Secret" {
				list.SetAPIVersion("v1")
			}
			list.SetKind(kind + "List")
			if err := s.c.List(ctx, list); err != nil {
				return err
			}
			for i := range list.Items {
				if item := &list.Items[i]; kind != "Secret" || len(item.GetFinalizers()) > 0 {
					errs = append(errs, fmt.Errorf("%s %s/%s with %v", kind, item.GetNamespace(), item.GetName(), item.GetFinalizers()))
				}
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		s.Fatal(err)
	}
}

func (s *site) crd() *apiextensionsv1.CustomResourceDefinition {
	s.Helper()
	var crd apiextensionsv1.CustomResourceDefinition
	if err := s.c.Get(s.Context(), client.ObjectKey{Name: "agents.cloud.calyptia.com"}, &crd); err != nil {
		s.Fatal(err)
	}
	return &crd
}

// previousChart simulates the chart of an older version: another version, and a CRD without a field.
func previousChart(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), operatorName)
	if err := os.CopyFS(path, os.DirFS(operatorChart)); err != nil {
		t.Fatal(err)
	}
	rewrite := func(name string, change func(map[string]any)) {
		file := filepath.Join(path, name)
		var content map[string]any
		if err := yaml.Unmarshal(must(os.ReadFile(file))(t), &content); err != nil {
			t.Fatal(err)
		}
		change(content)
		if err := os.WriteFile(file, must(yaml.Marshal(content))(t), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("Chart.yaml", func(c map[string]any) { c["version"], c["appVersion"] = "0.0.1", "0.0.1" })
	rewrite("files/crds/cloud.calyptia.com_agents.yaml", func(c map[string]any) {
		version := c["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
		unstructured.RemoveNestedField(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", newField)
	})
	return path
}

// newField is a field that the previous CRD does not have.
const newField = "environment"

// hasNewField reports whether the CRD in the cluster has the new field.
func (s *site) hasNewField() bool {
	_, has := s.crd().Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"].Properties[newField]
	return has
}

// playKubelet runs the pod of `helm test` as a kubelet would: the command of each container in turn, with the
// ServiceAccount of the pod. Then it sets the status of the pod.
func (s *site) playKubelet(ctx context.Context) error {
	var pod corev1.Pod
	err := await.Until(ctx, "helm makes no test pod", func(ctx context.Context) error {
		err := s.c.Get(ctx, client.ObjectKey{Namespace: operatorNamespace, Name: operatorName + "-test"}, &pod)
		if err == nil && pod.Status.Phase != corev1.PodPending {
			return errors.New("there is only that of an earlier test")
		}
		return err
	})
	if err != nil {
		return err
	}
	kubeconfig := kubeconfigFor(s, s.plane, pod.Namespace, pod.Spec.ServiceAccountName)
	phase := corev1.PodSucceeded
	var failed error
	for _, container := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
		command := s.plane.Kubectl(ctx, container.Command[1:]...)
		command.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + work}
		if out, err := runBoth(command); err != nil {
			phase, failed = corev1.PodFailed, fmt.Errorf("%s: %w: %s", container.Command, err, out)
			break
		}
	}
	base := pod.DeepCopy()
	pod.Status.Phase = phase
	return errors.Join(failed, s.c.Status().Patch(ctx, &pod, client.MergeFrom(base)))
}

func runBoth(command *exec.Cmd) (string, error) {
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
