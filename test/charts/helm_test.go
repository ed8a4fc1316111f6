/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

const (
	operatorName      = "calyptia-agent-operator"
	operatorNamespace = "calyptia-agent-operator-system"
)

func chart(name string) string { return filepath.Join(testenv.ModuleRoot(), "charts", name) }

var (
	operatorChart = chart("calyptia-agent-operator")
	agentsChart   = chart("calyptia-agents")
)

// values are those of a chart, as a user writes them.
type values = map[string]any

// kubeVersion is passed where there is no cluster: a Helm 3 that was not built for a release knows no version.
const kubeVersion = "--kube-version=1.37.2"

// helms are the supported versions of Helm.
var helms = map[string]func() (string, error){"Helm 4": helmPath, "Helm 3": helm3Path}

// helm runs helm, on a cluster if there is one, and returns what it prints.
func helm(t testing.TB, plane *testenv.ControlPlane, args ...string) (string, error) {
	t.Helper()
	return helmBy(t, helmPath, plane, args...)
}

// helmBy runs a version of helm.
func helmBy(t testing.TB, path func() (string, error), plane *testenv.ControlPlane, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), must(path())(t), withImage(t, args)...)
	command.Env = environment(plane)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("helm %s: %w\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return out.String(), nil
}

// withImage sets an image for the operator's chart, which has no released one. Later values take precedence.
func withImage(t testing.TB, args []string) []string {
	at := slices.Index(args, operatorChart)
	if at < 0 {
		return args
	}
	return slices.Insert(slices.Clone(args), at+1, "--values", valuesFile(t, values{"image": values{"tag": "test"}}))
}

// environment is without the user's own settings for helm and clusters.
func environment(plane *testenv.ControlPlane) []string {
	env := []string{"HOME=" + work, "PATH=" + os.Getenv("PATH"), "HELM_CACHE_HOME=" + filepath.Join(work, "helm"),
		"HELM_CONFIG_HOME=" + filepath.Join(work, "helm"), "HELM_DATA_HOME=" + filepath.Join(work, "helm"), "KUBECONFIG=/dev/null"}
	if plane != nil {
		env[len(env)-1] = "KUBECONFIG=" + plane.Kubeconfig
	}
	return env
}

// valuesFile writes values where helm can read them.
func valuesFile(t testing.TB, v values) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(path, must(yaml.Marshal(v))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// tryRender renders a chart with a version of helm.
func tryRender(t testing.TB, by func() (string, error), path, namespace string, v values) ([]*unstructured.Unstructured, error) {
	t.Helper()
	out, err := helmBy(t, by, nil, "template", operatorName, path, "--namespace", namespace, "--values", valuesFile(t, v), kubeVersion)
	if err != nil {
		return nil, err
	}
	return parse(out)
}

// render renders a chart, or ends the test.
func render(t testing.TB, path, namespace string, v values) []*unstructured.Unstructured {
	t.Helper()
	return must(tryRender(t, helmPath, path, namespace, v))(t)
}

// parse reads all objects of a manifest. A duplicate key is an error, as it is to the clients of the API server.
func parse(manifest string) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		object := &unstructured.Unstructured{}
		if err := errors.Join(err, yaml.UnmarshalStrict(document, &object.Object)); err != nil {
			return nil, fmt.Errorf("%w in\n%s", err, document)
		}
		if len(object.Object) > 0 {
			objects = append(objects, object)
		}
	}
}

// only is the one object of a kind.
func only(t testing.TB, objects []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	t.Helper()
	found := ofKind(objects, kind)
	if len(found) != 1 {
		t.Fatalf("%d objects of kind %s, want 1", len(found), kind)
	}
	return found[0]
}

func ofKind(objects []*unstructured.Unstructured, kind string) []*unstructured.Unstructured {
	var found []*unstructured.Unstructured
	for _, object := range objects {
		if object.GetKind() == kind {
			found = append(found, object)
		}
	}
	return found
}

// shell runs commands of the documentation as a user would: with helm, kubectl and the operator on the PATH, in a directory in
// which the charts are. more is added to the environment.
func shell(ctx context.Context, t testing.TB, plane *testenv.ControlPlane, dir, script string, more ...string) (string, error) {
	t.Helper()
	// A hanging command must fail the test. The API server looks again at a kind that is being deleted after 5 minutes.
	ctx, cancel := context.WithTimeout(ctx, 7*time.Minute)
	defer cancel()
	bin := must(os.MkdirTemp(work, "bin-"))(t)
	kubectl := plane.Kubectl(ctx).Path
	for name, path := range map[string]string{"helm": must(helmPath())(t), "kubectl": kubectl, operatorName: must(operatorPath())(t)} {
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	command.Dir = dir
	command.Env = append(append(environment(plane), "PATH="+bin+":"+os.Getenv("PATH")), more...)
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s\n%w\n%s", script, err, out)
	}
	return string(out), nil
}
