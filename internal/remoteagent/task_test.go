/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package remoteagent

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// taskFor is a reconciliation of an Agent of generation 2, at noon.
func taskFor(changes ...func(*v1alpha1.Agent)) *Task {
	a := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web-1", Generation: 2},
		Spec:       v1alpha1.AgentSpec{Version: "v4.0.0", RawConfig: "[INPUT]", SyncPolicy: v1alpha1.SyncEnforce},
		Status:     v1alpha1.AgentStatus{ObservedGeneration: 1},
	}
	for _, change := range changes {
		change(a)
	}
	o := &Operator{Clock: clocktesting.NewFakePassiveClock(noon), Settings: Settings{ClusterID: "blue"}.withDefaults()}
	t := NewTask(o, a, &Known{})
	t.CloudProject = &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main", UID: "main-1"}}
	return t
}

func annotated(key, value string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, value) }
}

func configFrom(name string) *v1alpha1.KeySource {
	return &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: name, Key: "k"}}
}
