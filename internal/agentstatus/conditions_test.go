/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentstatus

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// agentOf is an Agent of generation 2.
func agentOf(changes ...func(*v1alpha1.Agent)) *v1alpha1.Agent {
	a := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web-1", Generation: 2},
		Spec:       v1alpha1.AgentSpec{Version: "v4.0.0", RawConfig: "[INPUT]", SyncPolicy: v1alpha1.SyncEnforce},
		Status:     v1alpha1.AgentStatus{ObservedGeneration: 1},
	}
	for _, change := range changes {
		change(a)
	}
	return a
}

func appliedAt(generation int64) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { a.Status.Applied.Generation = generation }
}

func annotated(key, value string) func(*v1alpha1.Agent) {
	return func(a *v1alpha1.Agent) { metav1.SetMetaDataAnnotation(&a.ObjectMeta, key, value) }
}

func deleting(a *v1alpha1.Agent) { a.DeletionTimestamp = &metav1.Time{Time: noon} }

// shown are the conditions in one line each, by type.
func shown(a *v1alpha1.Agent) map[string]string {
	all := map[string]string{}
	for _, c := range a.Status.Conditions {
		all[c.Type] = fmt.Sprintf("%s %s %d", c.Status, c.Reason, c.ObservedGeneration)
	}
	return all
}

func TestConclusions(t *testing.T) {
	terminal := fault.Terminalf(v1alpha1.ReasonInvalid, "fix it")
	waiting := fault.Waitingf(v1alpha1.ReasonProjectNotReady, "wait").Coded(fault.ProjectNotReady)
	retryable := fault.Retryablef(v1alpha1.ReasonUnavailable, "try again")
	good := map[string]string{"Ready": "True Applied 2"}
	stalled := map[string]string{"Ready": "False Invalid 2", "Stalled": "True Invalid 2"}
	under := func(reason string) map[string]string {
		return map[string]string{"Ready": "False " + reason + " 2", "Reconciling": "True " + reason + " 2"}
	}
	type changes = []func(*v1alpha1.Agent)
	for _, row := range []struct {
		name  string
		agent changes
		fault *fault.Error
		grace bool
		want  map[string]string // nil: as before
	}{
		{"all went well", changes{appliedAt(2)}, nil, false, good},
		{"all went well after a failure in its grace", changes{appliedAt(2)}, nil, true, good},
		{"user action is required before it is applied", changes{appliedAt(1)}, terminal, false, stalled},
		{"user action is required, grace or not", changes{appliedAt(1)}, terminal, true, stalled},
		{"user action is required for what is applied", changes{appliedAt(2)}, terminal, false, stalled},
		{"user action is required for what is applied, grace or not", changes{appliedAt(2)}, terminal, true, stalled},
		{"it waits, never applied", changes{appliedAt(0)}, waiting, false, under("ProjectNotReady")},
		{"it waits before it is applied", changes{appliedAt(1)}, waiting, false, under("ProjectNotReady")},
		{"it waits before it is applied: no grace for that", changes{appliedAt(1)}, waiting, true, under("ProjectNotReady")},
		{"it is applied and waits", changes{appliedAt(2)}, waiting, false, map[string]string{"Ready": "False ProjectNotReady 2"}},
		{"it is applied and waits within the grace", changes{appliedAt(2)}, waiting, true, nil},
		{"it is tried again before it is applied", changes{appliedAt(1)}, retryable, false, under("Unavailable")},
		{"it is tried again before it is applied: no grace for that", changes{appliedAt(1)}, retryable, true, under("Unavailable")},
		{"it is applied and tried again for too long", changes{appliedAt(2)}, retryable, false, map[string]string{"Ready": "False Unavailable 2"}},
		{"it is applied and tried again within the grace", changes{appliedAt(2)}, retryable, true, nil},
		{"a deletion that is tried again has no grace", changes{appliedAt(2), deleting}, retryable, true, under("Unavailable")},
		{"a deletion that needs user action", changes{appliedAt(2), deleting}, terminal, true, stalled},
		{"suspended and applied", changes{appliedAt(2), func(a *v1alpha1.Agent) { a.Spec.Suspend = true }}, nil, false,
			map[string]string{"Ready": "True Suspended 2"}},
		{"observed", changes{appliedAt(2), func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncObserve }}, nil, false,
			map[string]string{"Ready": "True Observed 2"}},
	} {
		befores := map[string][]metav1.Condition{
			"nothing":     nil,
			"Ready":       {{Type: "Ready", Status: "True", Reason: "Applied", ObservedGeneration: 1}},
			"Reconciling": {{Type: "Ready", Status: "False", Reason: "X"}, {Type: "Reconciling", Status: "True", Reason: "X"}},
			"Stalled":     {{Type: "Ready", Status: "False", Reason: "X"}, {Type: "Stalled", Status: "True", Reason: "X"}},
		}
		for before, conditions := range befores {
			t.Run(row.name+", before it was "+before, func(t *testing.T) {
				a := agentOf(append(row.agent, func(a *v1alpha1.Agent) { a.Status.Conditions = conditions })...)
				want := row.want
				if want == nil {
					want = shown(a)
				}
				Conclude(a, Outcome{Failure: row.fault, Grace: row.grace, Now: noon})
				if diff := cmp.Diff(want, shown(a)); diff != "" {
					t.Errorf("conditions, -want +got:\n%s", diff)
				}
				if a.Status.ObservedGeneration != 2 {
					t.Errorf("observed generation %d", a.Status.ObservedGeneration)
				}
				for _, c := range a.Status.Conditions {
					if row.want != nil && row.fault != nil && c.Message != row.fault.Message {
						t.Errorf("%s says %q", c.Type, c.Message)
					}
				}
			})
		}
	}
}

func TestAQuietFailureChangesNothing(t *testing.T) {
	a := agentOf()
	before := a.DeepCopy()
	Conclude(a, Outcome{Failure: fault.Retryablef(v1alpha1.ReasonAPIServer, "meanwhile").Quietly(), Remote: &cloud.Agent{ID: "id"}, Now: noon})
	if diff := cmp.Diff(before.Status, a.Status); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestARequestToReconcileIsHandledWhenItIsDone(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault *fault.Error
		want  string
	}{
		{"done", nil, "now"},
		{"user action is required: trying was what was asked for", fault.Terminalf(v1alpha1.ReasonInvalid, "x"), "now"},
		{"it waits", fault.Waitingf(v1alpha1.ReasonProjectNotReady, "x"), "before"},
		{"it is tried again", fault.Retryablef(v1alpha1.ReasonUnavailable, "x"), "before"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := agentOf(annotated(v1alpha1.AnnotationReconcileAt, "now"), func(a *v1alpha1.Agent) { a.Status.LastHandledReconcileAt = "before" })
			Conclude(a, Outcome{Failure: row.fault, Now: noon})
			if got := a.Status.LastHandledReconcileAt; got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestFieldsAreNamedWithoutTheirValues(t *testing.T) {
	a := agentOf(func(a *v1alpha1.Agent) {
		a.Status.DriftedFields, a.Status.IgnoredFields = []string{"rawConfig", "version"}, []string{"edition"}
		a.Spec.SyncPolicy = v1alpha1.SyncOnChange
	})
	Conclude(a, Outcome{Now: noon})
	drifted := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionDrifted)
	if drifted == nil || !strings.Contains(drifted.Message, "rawConfig, version") || !strings.Contains(drifted.Message, "OnChange") ||
		strings.Contains(drifted.Message, "v4.0.0") || drifted.ObservedGeneration != 2 {
		t.Errorf("Drifted: %+v", drifted)
	}
	kept := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionFieldsIgnored)
	if kept == nil || !strings.Contains(kept.Message, "edition") || kept.Reason != v1alpha1.ReasonNotPersisted {
		t.Errorf("FieldsIgnored: %+v", kept)
	}
	a.Status.DriftedFields, a.Status.IgnoredFields = nil, nil
	Conclude(a, Outcome{Now: noon})
	if diff := cmp.Diff(map[string]string{"Ready": "True Applied 2"}, shown(a)); diff != "" {
		t.Errorf("when all is well again, -want +got:\n%s", diff)
	}
}

func TestReportingShowsWhetherMetricsArrive(t *testing.T) {
	ago := func(d time.Duration) *time.Time { return ptr.To(noon.Add(-d)) }
	for _, row := range []struct {
		name, status string
		last         *time.Time
		want         string
		words        string
	}{
		{"healthy", "healthy", ago(10 * time.Second), "True MetricsReceived 2", "receives"},
		{"healthy by its status, whatever the clocks say", "healthy", ago(time.Hour), "True MetricsReceived 2", "receives"},
		{"never", "unhealthy", nil, "False NeverReported 2", "yet"},
		{"never, whatever status the API shows", "healthy", nil, "False NeverReported 2", "yet"},
		{"never, as an API without null shows it", "unhealthy", &time.Time{}, "False NeverReported 2", "yet"},
		{"unhealthy, but recent", "unhealthy", ago(90 * time.Second), "True MetricsReceived 2", "receives"},
		{"stopped", "unhealthy", ago(91 * time.Second), "False MetricsStopped 2", "the status unhealthy; the last metrics were received at 2026-05-01T11:58:29Z"},
		{"a status of a newer service", "degraded\nbadly", ago(time.Hour), "False MetricsStopped 2", "the status degraded badly"},
		{"a clock that is ahead of ours", "unhealthy", ago(-time.Hour), "True MetricsReceived 2", "receives"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := agentOf(appliedAt(2))
			Conclude(a, Outcome{Remote: &cloud.Agent{Status: row.status, LastMetricsAddedAt: row.last}, Now: noon})
			if diff := cmp.Diff(map[string]string{"Ready": "True Applied 2", "Reporting": row.want}, shown(a)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReporting)
			if !strings.Contains(c.Message, row.words) {
				t.Errorf("the message %q lacks %q", c.Message, row.words)
			}
		})
	}
}
