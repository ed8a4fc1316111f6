/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// shell runs the commands of a page in a separate directory, with the real kubectl.
type shell struct {
	*harness.World
	dir, namespace string
	plane          *testenv.ControlPlane // default: the plane that all tests share
	at             string                // where commands run; default: dir
	env            []string              // additional variables
	service        string                // URL of the fake cloud, if it is not the World's
}

// run runs commands in the namespace of the test, which the pages call logging.
func (s *shell) run(at, commands string) string {
	s.Helper()
	out, err := s.command(commands).CombinedOutput()
	if err != nil {
		s.Fatalf("%s: %v\n%s\n%s", at, err, commands, out)
	}
	return string(out)
}

// command prepares a run of commands.
func (s *shell) command(commands string) *exec.Cmd {
	s.Helper()
	commands = strings.ReplaceAll(commands, "--namespace logging", "--namespace "+s.Namespace)
	assets, err := testenv.Assets()
	if err != nil {
		s.Fatal(err)
	}
	kubeconfig := filepath.Join(s.dir, "kubeconfig")
	plane := s.plane
	if plane == nil {
		plane = harness.Plane()
	}
	content, err := os.ReadFile(plane.Kubeconfig)
	if err != nil {
		s.Fatal(err)
	}
	current := strings.Replace(string(content), "namespace: default", "namespace: "+s.namespace, 1)
	if err := os.WriteFile(kubeconfig, []byte(current), 0o600); err != nil {
		s.Fatal(err)
	}
	command := exec.Command("bash", "-euo", "pipefail", "-c", commands)
	command.Dir = cmp.Or(s.at, s.dir)
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+assets+":"+os.Getenv("PATH"), "CALYPTIA_TOKEN="+s.Token.Reveal())
	command.Env = append(command.Env, s.env...)
	return command
}

// block is the only block of a page that holds the words.
func (s *shell) block(path, words string) block {
	s.Helper()
	var found []block
	for _, b := range parse(path, s.read(path)).blocks() {
		if strings.Contains(b.text, words) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		s.Fatalf("%s has %d blocks with %q, want 1", path, len(found), words)
	}
	return found[0]
}

func (s *shell) read(path string) []byte {
	s.Helper()
	content, err := os.ReadFile(filepath.Join(testenv.ModuleRoot(), path))
	if err != nil {
		s.Fatal(err)
	}
	return content
}

func TestTheWayOutWhenTheOperatorWentFirst(t *testing.T) {
	const page = "docs/upgrade-uninstall.md"
	w := harness.New(t, cloudtest.Settings{})
	s := &shell{World: w, dir: t.TempDir(), namespace: w.Namespace}
	w.Ready(w.Apply("web-logs"))
	id := w.One("web-logs").ID

	retain := s.block(page, "while read")
	s.run(retain.at, strings.ReplaceAll(retain.text, "--all-namespaces", "--namespace "+w.Namespace))
	if policy := w.Get("web-logs").Spec.DeletionPolicy; policy != v1alpha1.DeletionRetain {
		t.Errorf("the deletion policy is %q", policy)
	}
	if out := s.run(page, s.block(page, "custom-columns=NAMESPACE").text); !strings.Contains(out, id) {
		t.Errorf("%s is not in:\n%s", id, out)
	}

	w.Ready("web-logs")
	w.Stop()
	s.run("deletion", "kubectl delete agent/web-logs cloudproject/calyptia secret/calyptia-credentials --wait=false")
	if w.Get("web-logs").DeletionTimestamp.IsZero() {
		t.Error("the Agent does not wait for its finalizer")
	}
	out := s.block(page, `"finalizers":null`)
	s.run(out.at, out.text)
	w.Gone("web-logs")
	s.run("deletion", "kubectl wait cloudproject/calyptia secret/calyptia-credentials --for=delete --timeout=45s")
	if left := w.Remote(); len(left) != 1 {
		t.Errorf("the cloud has %d agents, want the one that was left", len(left))
	}
}

func TestTheAnnotationsOfAnAgent(t *testing.T) {
	w := harness.New(t, cloudtest.Settings{})
	s := &shell{World: w, dir: t.TempDir(), namespace: w.Namespace}
	w.Ready(w.Apply("web-logs"))
	b := s.block("docs/agent.md", "reconcile-at")
	s.run(b.at, b.text)
	w.Eventually("the requested sync is recorded", func() error {
		if a := w.Get("web-logs"); a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return errors.New("it is not")
		}
		return nil
	})
	// The deletion completes, and the remote agent stays.
	b = s.block("docs/agent.md", "cloud.calyptia.com/orphan=true")
	s.run(b.at, b.text)
	w.Delete("web-logs")
	w.Gone("web-logs")
	if left := w.Remote(); len(left) != 1 {
		t.Errorf("the cloud has %d agents, want the one that was left", len(left))
	}
}
