/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The cache keeps no DaemonSet that names very many nodes. Nobody knows which nodes it runs on then, so no Agent goes.
func TestADaemonSetThatIsTooLargeStallsItsSetAndNoAgentGoes(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a", "b")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"), delay(0))
	w.SetReady("logs", 2)
	change := func(affinity *corev1.Affinity) {
		var ds appsv1.DaemonSet
		w.Read(w.Key("fluent-bit"), &ds)
		base := ds.DeepCopy()
		ds.Spec.Template.Spec.Affinity = affinity
		if err := w.Client.Patch(t.Context(), &ds, client.MergeFrom(base)); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for i := range 4000 {
		names = append(names, fmt.Sprint("node-", i))
	}
	change(required(labels(expression("kubernetes.io/hostname", corev1.NodeSelectorOpIn, names...))))
	stalled(w, "logs", v1alpha1.ReasonTargetTooLarge, "fluent-bit", "32 KiB")
	w.HasExactly("logs", keys(w, "a", "b")...)
	agent := w.AgentsOf("logs")[w.Node("a")]
	w.Cloud.Remove(agent.Status.ID)
	w.Poke(agent.Name)
	w.Clock.Step(time.Minute) // Skips the pause before the next batch.
	w.Eventually("the Agent is registered again", func() error {
		if is := w.Get(agent.Name).Status.ID; is == "" || is == agent.Status.ID {
			return fmt.Errorf("its ID is %q", is)
		}
		return nil
	})
	w.HasExactly("logs", keys(w, "a", "b")...)
	stalled(w, "logs", v1alpha1.ReasonTargetTooLarge)
	change(nil)
	w.SetReady("logs", 2)
}

// What the cache leaves out of an Agent must not be lost when the set writes it.
func TestAnAgentWithVeryManyLabelsIsNotWritten(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 1)
	name := w.AgentsOf("logs")[w.Node("a")].Name
	w.Change(name, func(a *v1alpha1.Agent) {
		for i := range 200 {
			metav1.SetMetaDataLabel(&a.ObjectMeta, fmt.Sprint("a", i), "")
		}
	})
	w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Template.Spec.Version = "v4.0.9" })
	stalled(w, "logs", v1alpha1.ReasonAgentConflict, name, "remove some")
	if a := w.Get(name); len(a.Labels) < 200 || a.Spec.Version == "v4.0.9" {
		t.Errorf("it was written: %d labels, version %s", len(a.Labels), a.Spec.Version)
	}
	w.Change(name, func(a *v1alpha1.Agent) {
		for i := range 200 {
			delete(a.Labels, fmt.Sprint("a", i))
		}
	})
	w.Eventually("the Agent has the template", func() error {
		if w.Get(name).Spec.Version != "v4.0.9" {
			return errors.New("it has not")
		}
		return nil
	})
	w.SetReady("logs", 1)
}
