/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"errors"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/agentstatus"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
	"github.com/calyptia-agent-operator/operator/internal/fault"
	"github.com/calyptia-agent-operator/operator/internal/remoteagent"
	"github.com/calyptia-agent-operator/operator/internal/testenv/standstill"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// taskFor is a reconciliation of an Agent of generation 2, at noon.
func taskFor(changes ...func(*v1alpha1.Agent)) *task {
	a := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web-1", Generation: 2},
		Spec:       v1alpha1.AgentSpec{Version: "v4.0.0", RawConfig: "[INPUT]", SyncPolicy: v1alpha1.SyncEnforce},
		Status:     v1alpha1.AgentStatus{ObservedGeneration: 1},
	}
	for _, change := range changes {
		change(a)
	}
	r := &Reconciler{Operator: remoteagent.Operator{Clock: clocktesting.NewFakePassiveClock(noon), Settings: remoteagent.Settings{
		ClusterID: "blue",
		Times:     remoteagent.Times{BackoffMin: time.Second, BackoffMax: 5 * time.Minute, OutageGrace: 15 * time.Minute, VolatileInterval: time.Hour},
	}}}
	t := r.taskOf(remoteagent.NewTask(&r.Operator, a, &remoteagent.Known{}))
	t.CloudProject = &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main", UID: "main-1"}}
	return t
}

func appliedAt(generation int64) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Status.Applied.Generation = generation }
}

func annotated(key, value string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, value) }
}

func deleting(a *v1alpha1.Agent) { a.DeletionTimestamp = &metav1.Time{Time: noon} }

// upToDate is a reconciliation of an Agent with nothing left to do, and what it sees.
func upToDate(changes ...func(*v1alpha1.Agent)) (*task, *standstill.View) {
	done := func(a *v1alpha1.Agent) {
		a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "main"}
		a.Spec.RawConfig, a.Spec.RawConfigFrom = "", configFrom("pipeline")
		a.Finalizers = []string{v1alpha1.AgentFinalizer}
		a.Status = v1alpha1.AgentStatus{
			ObservedGeneration: 2, ID: "id", URL: "https://cloud-api.calyptia.com",
			TokenSecretRef: &v1alpha1.LocalSecretReference{Name: "web-token"},
			Applied:        v1alpha1.AppliedState{Generation: 2, SourceResourceVersion: "5"},
			Conditions:     []metav1.Condition{{Type: "Ready", Status: "True", Reason: v1alpha1.ReasonApplied}},
		}
	}
	t := taskFor(append([]func(*v1alpha1.Agent){done}, changes...)...)
	v := &standstill.View{Project: t.CloudProject, Versions: map[string]string{"Secret/web-token": "7", "ConfigMap/pipeline": "5"}}
	t.Client, t.Projects = v, connection.NewRegistry(connection.Options{Clock: t.Clock})
	return t, v
}

func configFrom(name string) *v1alpha1.KeySource {
	return &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: name, Key: "k"}}
}

func TestASuspendedAgentIsReadyIfNothingWaits(t *testing.T) {
	registered := func(a *v1alpha1.Agent) {
		a.Status.ID = "id"
		now := taskFor(func(b *v1alpha1.Agent) { b.Spec = a.Spec })
		_ = now.LoadConfig(t.Context())
		a.Status.Applied = v1alpha1.AppliedState{Generation: 1, Fields: map[string]string{}}
		for _, d := range now.Declared() {
			a.Status.Applied.Fields[d.Name] = d.Hash
		}
	}
	type changes = []func(*v1alpha1.Agent)
	for _, row := range []struct {
		name  string
		agent changes
		ready bool
	}{
		{"never registered", nil, false},
		{"registered, all applied", changes{registered}, true},
		{"registered, a change waits", changes{registered, func(a *v1alpha1.Agent) { a.Spec.Version = "v5.0.0" }}, false},
		{"registered, a field is no longer managed", changes{registered, func(a *v1alpha1.Agent) { a.Spec.Version = "" }}, true},
		{"a registration is under way", changes{registered, annotated(v1alpha1.AnnotationRegistrationIntent, "t/1")}, false},
		{"its registration is recorded", changes{registered, annotated(v1alpha1.AnnotationRegistrationIntent, "t/1"),
			func(a *v1alpha1.Agent) { a.Status.RegistrationIntent = "t/1" }}, true},
		{"observed: nothing ever waits", changes{func(a *v1alpha1.Agent) { a.Status.ID, a.Spec.SyncPolicy = "id", v1alpha1.SyncObserve }}, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := taskFor(row.agent...)
			err := p.suspended(t.Context())
			if (err == nil) != row.ready {
				t.Fatalf("error %v", err)
			}
			if row.ready != (p.Agent.Status.Applied.Generation == 2) {
				t.Errorf("applied generation %d", p.Agent.Status.Applied.Generation)
			}
			if f := agentstatus.Classify(err); !row.ready && (f.Class != fault.Waiting || f.Reason != v1alpha1.ReasonSuspended) {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestAFailedDeletionMentionsTheOrphanAnnotation(t *testing.T) {
	got := agentstatus.Classify(hinted(&cloud.Error{Status: 500, Reason: cloud.ReasonUnavailable, Message: "database is down"}))
	if got.Class != fault.Retryable || !strings.Contains(got.Message, "database is down") || !strings.HasSuffix(got.Message, orphanHint) {
		t.Errorf("%+v", *got)
	}
	quiet := apierrors.NewConflict(schema.GroupResource{Resource: "agents"}, "web", nil)
	if err := hinted(quiet); !errors.Is(err, quiet) || !agentstatus.Classify(err).Quiet {
		t.Errorf("%v", err)
	}
}
