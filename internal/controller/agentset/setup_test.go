/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func TestWhichChangesOfAnAgentMatterToItsSet(t *testing.T) {
	for _, row := range []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   bool
	}{
		{"nothing", func(*v1alpha1.Agent) {}, false},
		{"times and numbers", func(a *v1alpha1.Agent) {
			a.Status.Agent, a.ResourceVersion = &v1alpha1.RemoteAgent{MetricsCount: 7}, "2"
		}, false},
		{"the spec", func(a *v1alpha1.Agent) { a.Generation++ }, true},
		{"it is Ready in a new generation, and was Ready in the former", func(a *v1alpha1.Agent) {
			a.Status.Conditions[0].ObservedGeneration++
		}, true},
		{"it is no longer Ready", func(a *v1alpha1.Agent) { a.Status.Conditions[0].Status = metav1.ConditionFalse }, true},
		{"the message of Ready", func(a *v1alpha1.Agent) { a.Status.Conditions[0].Message = "other" }, false},
		{"it reports", func(a *v1alpha1.Agent) {
			a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{Type: v1alpha1.ConditionReporting, Status: metav1.ConditionTrue})
		}, true},
		{"the remote agent", func(a *v1alpha1.Agent) { a.Status.ID = "other" }, true},
		{"an annotation", func(a *v1alpha1.Agent) { a.Annotations = map[string]string{v1alpha1.AnnotationRemovalStarted: ""} }, true},
		{"the owner", func(a *v1alpha1.Agent) { a.OwnerReferences = []metav1.OwnerReference{{UID: "set"}} }, true},
	} {
		was := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Generation: 2, ResourceVersion: "1"}, Status: v1alpha1.AgentStatus{
			ID: "remote", Conditions: []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 1}},
		}}
		is := was.DeepCopy()
		row.change(is)
		if got := matters(event.UpdateEvent{ObjectOld: was, ObjectNew: is}); got != row.want {
			t.Errorf("%s: %t", row.name, got)
		}
	}
}
