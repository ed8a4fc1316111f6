/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/fault"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// passOf is a pass over an Agent of generation 2, at noon.
func passOf(changes ...func(*v1alpha1.Agent)) *pass {
	a := &v1alpha1.Agent{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "web-1", Generation: 2},
		Spec:       v1alpha1.AgentSpec{Version: "v4.0.0", RawConfig: "[INPUT]", SyncPolicy: v1alpha1.SyncEnforce},
		Status:     v1alpha1.AgentStatus{ObservedGeneration: 1},
	}
	for _, change := range changes {
		change(a)
	}
	return &pass{
		Reconciler:   &Reconciler{Clock: clocktesting.NewFakePassiveClock(noon), Settings: Settings{ClusterID: "blue"}.withDefaults()},
		base:         a,
		agent:        a.DeepCopy(),
		memory:       &memory{},
		cloudProject: &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "main", UID: "main-1"}},
	}
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
	terminal := fault.Terminalf(v1alpha1.ReasonInvalid, "mend it")
	waiting := fault.Waitingf(v1alpha1.ReasonProjectNotReady, "wait")
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
		{"a person has to act before it is applied", changes{appliedAt(1)}, terminal, false, stalled},
		{"a person has to act, grace or not", changes{appliedAt(1)}, terminal, true, stalled},
		{"a person has to act for what is applied", changes{appliedAt(2)}, terminal, false, stalled},
		{"a person has to act for what is applied, grace or not", changes{appliedAt(2)}, terminal, true, stalled},
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
		{"a deletion that a person has to help", changes{appliedAt(2), deleting}, terminal, true, stalled},
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
				p := passOf(append(row.agent, func(a *v1alpha1.Agent) { a.Status.Conditions = conditions })...)
				want := row.want
				if want == nil {
					want = shown(p.agent)
				}
				p.conclude(classed{row.fault}, row.grace)
				if diff := cmp.Diff(want, shown(p.agent)); diff != "" {
					t.Errorf("conditions, -want +got:\n%s", diff)
				}
				if p.agent.Status.ObservedGeneration != 2 {
					t.Errorf("observed generation %d", p.agent.Status.ObservedGeneration)
				}
				for _, c := range p.agent.Status.Conditions {
					if row.want != nil && row.fault != nil && c.Message != row.fault.Message {
						t.Errorf("%s says %q", c.Type, c.Message)
					}
				}
			})
		}
	}
}

func TestAQuietFailureChangesNothing(t *testing.T) {
	p := passOf()
	p.remote = fullRemote()
	p.conclude(classed{fault.Retryablef(v1alpha1.ReasonAPIServer, "meanwhile").Quietly()}, false)
	if diff := cmp.Diff(p.base.Status, p.agent.Status); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
}

func TestARequestToReconcileIsAnsweredWhenItIsDone(t *testing.T) {
	for _, row := range []struct {
		name  string
		fault *fault.Error
		want  string
	}{
		{"done", nil, "now"},
		{"a person has to act: trying was what was asked for", fault.Terminalf(v1alpha1.ReasonInvalid, "x"), "now"},
		{"it waits", fault.Waitingf(v1alpha1.ReasonProjectNotReady, "x"), "before"},
		{"it is tried again", fault.Retryablef(v1alpha1.ReasonUnavailable, "x"), "before"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf(annotated(v1alpha1.AnnotationReconcileAt, "now"), func(a *v1alpha1.Agent) { a.Status.LastHandledReconcileAt = "before" })
			p.conclude(classed{row.fault}, false)
			if got := p.agent.Status.LastHandledReconcileAt; got != row.want {
				t.Errorf("%q, want %q", got, row.want)
			}
		})
	}
}

func TestFieldsAreNamedWithoutTheirValues(t *testing.T) {
	p := passOf(func(a *v1alpha1.Agent) {
		a.Status.DriftedFields, a.Status.IgnoredFields = []string{"rawConfig", "version"}, []string{"edition"}
		a.Spec.SyncPolicy = v1alpha1.SyncOnChange
	})
	p.conclude(classed{}, false)
	drifted := meta.FindStatusCondition(p.agent.Status.Conditions, v1alpha1.ConditionDrifted)
	if drifted == nil || !strings.Contains(drifted.Message, "rawConfig, version") || !strings.Contains(drifted.Message, "OnChange") ||
		strings.Contains(drifted.Message, "v4.0.0") || drifted.ObservedGeneration != 2 {
		t.Errorf("Drifted: %+v", drifted)
	}
	kept := meta.FindStatusCondition(p.agent.Status.Conditions, v1alpha1.ConditionFieldsIgnored)
	if kept == nil || !strings.Contains(kept.Message, "edition") || kept.Reason != v1alpha1.ReasonNotPersisted {
		t.Errorf("FieldsIgnored: %+v", kept)
	}
	p.agent.Status.DriftedFields, p.agent.Status.IgnoredFields = nil, nil
	p.conclude(classed{}, false)
	if diff := cmp.Diff(map[string]string{"Ready": "True Applied 2"}, shown(p.agent)); diff != "" {
		t.Errorf("when all is well again, -want +got:\n%s", diff)
	}
}

func TestReportingTellsWhatTheServiceHears(t *testing.T) {
	ago := func(d time.Duration) *time.Time { return ptr.To(noon.Add(-d)) }
	for _, row := range []struct {
		name, status string
		last         *time.Time
		want         string
		words        string
	}{
		{"healthy", "healthy", ago(10 * time.Second), "True MetricsReceived 2", "receives"},
		{"healthy by its word, whatever the clocks say", "healthy", ago(time.Hour), "True MetricsReceived 2", "receives"},
		{"never", "unhealthy", nil, "False NeverReported 2", "yet"},
		{"never, whatever the service calls that", "healthy", nil, "False NeverReported 2", "yet"},
		{"never, as a service without null says it", "unhealthy", &time.Time{}, "False NeverReported 2", "yet"},
		{"unhealthy, but recent", "unhealthy", ago(90 * time.Second), "True MetricsReceived 2", "receives"},
		{"stopped", "unhealthy", ago(91 * time.Second), "False MetricsStopped 2", "says unhealthy; the last metrics came at 2026-05-01T11:58:29Z"},
		{"a status of a newer service", "degraded\nbadly", ago(time.Hour), "False MetricsStopped 2", "says degraded badly"},
		{"a clock that is ahead of ours", "unhealthy", ago(-time.Hour), "True MetricsReceived 2", "receives"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := passOf(appliedAt(2))
			p.remote = &cloud.Agent{Status: row.status, LastMetricsAddedAt: row.last}
			p.conclude(classed{}, false)
			if diff := cmp.Diff(map[string]string{"Ready": "True Applied 2", "Reporting": row.want}, shown(p.agent)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			c := meta.FindStatusCondition(p.agent.Status.Conditions, v1alpha1.ConditionReporting)
			if !strings.Contains(c.Message, row.words) {
				t.Errorf("the message %q lacks %q", c.Message, row.words)
			}
		})
	}
}

func TestASuspendedAgentIsReadyIfNothingWaits(t *testing.T) {
	registered := func(a *v1alpha1.Agent) {
		a.Status.ID = "id"
		spec, config := a.Spec, passOf(func(b *v1alpha1.Agent) { b.Spec = a.Spec })
		_ = config.loadConfig(t.Context())
		a.Status.Applied = v1alpha1.AppliedState{Generation: 1, Fields: hashes(declared(&spec, &config.config))}
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
			p := passOf(row.agent...)
			err := p.suspended(t.Context())
			if (err == nil) != row.ready {
				t.Fatalf("error %v", err)
			}
			if row.ready != (p.agent.Status.Applied.Generation == 2) {
				t.Errorf("applied generation %d", p.agent.Status.Applied.Generation)
			}
			if f := classify(err); !row.ready && (f.Class != fault.Waiting || f.Reason != v1alpha1.ReasonSuspended) {
				t.Errorf("%+v", f)
			}
		})
	}
}
