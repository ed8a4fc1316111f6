/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/overview"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// overviewOf runs the command.
func overviewOf(t *testing.T, args ...string) (string, error) {
	t.Helper()
	command := overview.NewCommand(func(err error) error { return errors.Join(errUsage, err) })
	command.SilenceErrors, command.SilenceUsage = true, true
	var out bytes.Buffer
	command.SetOut(&out)
	command.SetArgs(append([]string{"--kubeconfig", harness.Plane().Kubeconfig}, args...))
	err := command.ExecuteContext(t.Context())
	return out.String(), err
}

var errUsage = errors.New("usage")

// words are the lines of a text with one space between two words.
func words(text string) (lines []string) {
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	return lines
}

// One command replaces five of kubectl: the numbers of each project, and the Agents that need attention.
func TestTheStatusCommand(t *testing.T) {
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web-logs"))
	w.Eventually("nothing needs attention", func() error {
		out, err := overviewOf(t, "-n", w.Namespace, "--check")
		if err == nil && !strings.Contains(out, "Nothing needs attention.") {
			err = errors.New(out)
		}
		return err
	})
	id := w.Ready(w.Apply("silent")).Status.ID
	w.Cloud.Mutate(id, func(a *cloud.Agent) {
		hour := time.Now().Add(-time.Hour)
		a.Status, a.FirstMetricsAddedAt, a.LastMetricsAddedAt = "unhealthy", &hour, &hour
	})
	w.Poke("silent")
	w.Eventually("silent is silent", func() error {
		if meta.IsStatusConditionFalse(w.Get("silent").Status.Conditions, v1alpha1.ConditionReporting) {
			return nil
		}
		return errors.New("not yet")
	})
	w.Apply("lonely", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "nobody"} })
	w.NotReady("lonely", v1alpha1.ReasonProjectNotFound)

	out, err := overviewOf(t, "-n", w.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	lines := "\n" + strings.Join(words(out), "\n") + "\n"
	for _, want := range []string{
		"\n" + w.Namespace + "/calyptia True 2 2 0 0 1 -\n",
		"\n" + w.Namespace + "/nobody - 1 0 0 0 0 not in view\n",
		"\nAgent " + w.Namespace + "/lonely not Ready " + v1alpha1.ReasonProjectNotFound + " ",
		"\nAgent " + w.Namespace + "/silent silent " + v1alpha1.ReasonMetricsStopped + " ",
	} {
		if !strings.Contains(lines, want) {
			t.Errorf("there is no %q in\n%s", want, out)
		}
	}
	if strings.Contains(lines, "/web-logs") {
		t.Errorf("an Agent that needs no attention is listed:\n%s", out)
	}
	if all, err := overviewOf(t, "-A"); err != nil || !strings.Contains(all, w.Namespace+"/lonely") {
		t.Errorf("of all namespaces: %v\n%s", err, all)
	}
	if _, err := overviewOf(t, "-n", w.Namespace, "--check"); err == nil || errors.Is(err, errUsage) {
		t.Errorf("--check says %v", err)
	}
	for _, args := range [][]string{{"-A", "-n", "a"}, {"agents"}} {
		if _, err := overviewOf(t, args...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
