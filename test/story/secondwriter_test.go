/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// started creates an Agent with this policy and starts a Fluent Bit with its session once.
func started(t *testing.T, w *harness.World, policy v1alpha1.SyncPolicy) *cloudtest.FluentBit {
	t.Helper()
	w.Ready(w.Apply("web", withSession(""), func(a *v1alpha1.Agent) {
		a.Spec.SyncPolicy, a.Spec.Name, a.Spec.Edition = policy, "web", "community"
		a.Spec.Metadata = &apiextensionsv1.JSON{Raw: []byte(`{"team":"payments"}`)}
	}))
	f, err := fluentBit(w, "web-session")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// synced requests a sync, waits for it, and returns the Agent.
func synced(w *harness.World) *v1alpha1.Agent {
	w.Helper()
	w.Poke("web")
	want := w.Get("web").Annotations[v1alpha1.AnnotationReconcileAt]
	var a *v1alpha1.Agent
	w.Eventually("the operator has synced", func() error {
		if a = w.Get("web"); a.Status.LastHandledReconcileAt != want {
			return errors.New("not yet")
		}
		return nil
	})
	return a
}

// operatorsPatches counts the updates of the operator, which have the project token.
func operatorsPatches(w *harness.World) (count int) {
	for _, r := range w.Cloud.Requests() {
		if r.Method == http.MethodPatch && r.Scheme != cloud.SchemeAgentToken {
			count++
		}
	}
	return count
}

// declaredHere compares the remote agent with the spec.
func declaredHere(w *harness.World) string {
	spec, remote := w.Get("web").Spec, w.One("web")
	got := []string{remote.Name, remote.Version, remote.Edition, remote.RawConfig, string(remote.Metadata)}
	return cmp.Diff([]string{spec.Name, spec.Version, spec.Edition, spec.RawConfig, string(spec.Metadata.Raw)}, got)
}

var whatItWrites = []string{"metadata", "name", "rawConfig", "version"}

func TestOnChangeDoesNotFightFluentBit(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	f := started(t, w, v1alpha1.SyncOnChange)
	for range 3 {
		if err := errors.Join(f.Start(context.Background()), f.Report(context.Background())); err != nil {
			t.Fatal(err)
		}
		a := synced(w)
		if !slices.Equal(a.Status.DriftedFields, whatItWrites) || harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
			t.Errorf("drift %v, conditions %s", a.Status.DriftedFields, harness.Describe(a))
		}
	}
	if n := operatorsPatches(w); n != 0 {
		t.Errorf("the operator sent %d updates, want none", n)
	}
	// Each change is applied, and nothing else.
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "[INPUT]\n    name mem\n" })
	a := w.Ready("web")
	if diff := cmp.Diff(map[string]any{"rawConfig": "[INPUT]\n    name mem\n"}, sent(t, w)); diff != "" {
		t.Errorf("PATCH, -want +got:\n%s", diff)
	}
	if !slices.Equal(a.Status.DriftedFields, []string{"metadata", "name", "version"}) {
		t.Errorf("drift %v", a.Status.DriftedFields)
	}
	// A change to the value that Fluent Bit writes ends the drift of that field permanently.
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = f.Version })
	w.Ready("web")
	if err := f.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if a := synced(w); !slices.Equal(a.Status.DriftedFields, []string{"metadata", "name", "rawConfig"}) {
		t.Errorf("drift %v", a.Status.DriftedFields)
	}
	if n := operatorsPatches(w); n != 2 {
		t.Errorf("the operator sent %d updates, want one for each change", n)
	}
}

func TestEnforceRevertsWhatFluentBitWritesAtEachStart(t *testing.T) {
	t.Parallel()
	for _, settings := range []cloudtest.Settings{{}, {MaskTokens: true, MaskAs: "redacted"}} {
		w := harness.New(t, settings)
		f := started(t, w, v1alpha1.SyncEnforce)
		for i := range 4 {
			if err := errors.Join(f.Start(context.Background()), f.Report(context.Background())); err != nil {
				t.Fatal(err)
			}
			for range 2 { // The second sync changes nothing.
				a := synced(w)
				if len(a.Status.DriftedFields)+len(a.Status.IgnoredFields) != 0 {
					t.Errorf("drift %v, ignored fields %v", a.Status.DriftedFields, a.Status.IgnoredFields)
				}
			}
			if diff := declaredHere(w); diff != "" {
				t.Errorf("after start %d, -want +got:\n%s", i+1, diff)
			}
			if n := operatorsPatches(w); n != i+1 {
				t.Errorf("%d updates after %d starts, want one for each", n, i+1)
			}
		}
	}
}

func TestEnforceWhereOnlyTheAgentMayWrite(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{OnlyAgentPatches: true})
	f := started(t, w, v1alpha1.SyncEnforce)
	if err := f.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	synced(w)
	if diff := declaredHere(w); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A Fluent Bit that starts between the update and its read-back looks like an API that does not persist fields.
func TestAStartDuringAnUpdateIsNotAnIgnoredField(t *testing.T) {
	t.Parallel()
	for _, policy := range []v1alpha1.SyncPolicy{v1alpha1.SyncEnforce, v1alpha1.SyncOnChange} {
		t.Run(string(policy), func(t *testing.T) {
			w := harness.New(t, cloudtest.Settings{})
			f := started(t, w, policy)
			synced(w)
			w.Cloud.ResetRequests()
			entered, release := make(chan struct{}), make(chan struct{})
			w.Cloud.Inject(cloudtest.Fault{Method: http.MethodGet, Route: cloudtest.RouteAgent, Times: 1, Entered: entered, Block: release})
			w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.3.0" })
			<-entered
			if n := operatorsPatches(w); n != 1 {
				t.Errorf("%d updates before the read-back, want one", n)
			}
			err := f.Start(context.Background())
			close(release)
			if err != nil {
				t.Fatal(err)
			}
			a := w.Ready("web")
			if len(a.Status.IgnoredFields) != 0 || w.One("web").Version != "v4.3.0" {
				t.Errorf("ignored fields %v, version %s", a.Status.IgnoredFields, w.One("web").Version)
			}
			if n := operatorsPatches(w); n > 2 {
				t.Errorf("%d updates, want two at most", n)
			}
		})
	}
}

// An external change at the time of the correction looks like an API that does not persist fields.
func TestAnExternalChangeDuringACorrectionIsNotAnIgnoredField(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncEnforce })
	a := w.Ready("web")
	change := func() { w.Cloud.Mutate(a.Status.ID, func(a *cloud.Agent) { a.Version = "v9.9.9" }) }
	hold := func(method string) (entered, release chan struct{}) {
		entered, release = make(chan struct{}), make(chan struct{})
		w.Cloud.Inject(cloudtest.Fault{Method: method, Route: cloudtest.RouteAgent, Times: 1, Entered: entered, Block: release})
		return entered, release
	}
	correcting, correct := hold(http.MethodPatch)
	change()
	w.Poke("web")
	<-correcting
	reading, read := hold(http.MethodGet)
	close(correct)
	<-reading
	change()
	close(read)
	w.Eventually("it is corrected again", func() error {
		if version := w.One("web").Version; version != a.Spec.Version {
			return errors.New(version)
		}
		return nil
	})
	synced(w)
	if now := w.Ready("web"); len(now.Status.IgnoredFields)+len(now.Status.DriftedFields) != 0 {
		t.Errorf("ignored fields %v, drift %v", now.Status.IgnoredFields, now.Status.DriftedFields)
	}
}

func TestIgnoredFieldsAreDetectedDespiteFluentBit(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	started(t, w, v1alpha1.SyncEnforce)
	synced(w)
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodPatch, Status: http.StatusNoContent})
	w.Cloud.ResetRequests()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.3.0" })
	w.Becomes("web", v1alpha1.ConditionFieldsIgnored, metav1.ConditionTrue, v1alpha1.ReasonNotPersisted, "version")
	for range 3 {
		synced(w)
	}
	if n := operatorsPatches(w); n != 2 {
		t.Errorf("%d updates, want one and one retry", n)
	}
}

func TestReportingFollowsTheMetrics(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	f := started(t, w, v1alpha1.SyncOnChange)
	rows := []struct {
		name   string
		health string
		age    time.Duration // of the last metrics; none if zero
		status metav1.ConditionStatus
		reason string
	}{
		{"started, no metrics yet", "unhealthy", 0, metav1.ConditionFalse, v1alpha1.ReasonNeverReported},
		{"the first metrics", "healthy", time.Second, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived},
		{"unhealthy, and the metrics come", "unhealthy", time.Minute, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived},
		{"unhealthy, after three intervals", "unhealthy", 91 * time.Second, metav1.ConditionFalse, v1alpha1.ReasonMetricsStopped},
		{"late, but healthy in Calyptia Cloud", "healthy", time.Hour, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived},
		{"it stops for long", "unhealthy", 24 * time.Hour, metav1.ConditionFalse, v1alpha1.ReasonMetricsStopped},
		{"and comes back", "healthy", time.Second, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := w.For(t)
			last := time.Now().Add(-row.age).UTC()
			if row.age > 0 {
				w.Cloud.Configure(func(s *cloudtest.Settings) { s.Now = func() time.Time { return last } })
				if err := f.Report(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			w.Cloud.Mutate(f.ID, func(a *cloud.Agent) { a.Status = row.health })
			a := synced(w)
			got := harness.Condition(a, v1alpha1.ConditionReporting)
			if got.Status != row.status || got.Reason != row.reason || a.Status.Agent.Status != row.health {
				t.Errorf("Reporting is %+v, the remote agent %s", got, a.Status.Agent.Status)
			}
			if ready := harness.Condition(a, v1alpha1.ConditionReady); ready.Status != metav1.ConditionTrue {
				t.Errorf("Ready is %+v, and has nothing to do with it", ready)
			}
			if row.reason != v1alpha1.ReasonMetricsStopped {
				return
			}
			if want := last.Format(time.RFC3339); !strings.Contains(got.Message, "unhealthy") || !strings.Contains(got.Message, want) {
				t.Errorf("the message is %q, want unhealthy and the time %s", got.Message, want)
			}
			// It is written once and not refreshed.
			w.API.Reset()
			if again := harness.Condition(synced(w), v1alpha1.ConditionReporting); again != got {
				t.Errorf("the condition became %+v", again)
			}
			if writes, _ := w.API.Writes(); len(writes) != 1 {
				t.Errorf("writes: %+v, want the one that handles the request", writes)
			}
		})
	}
}

func TestReportingIsUpdatedWithinAResync(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Minute}
	})
	f := started(t, w, v1alpha1.SyncOnChange)
	if err := f.Report(context.Background()); err != nil {
		t.Fatal(err)
	}
	w.Becomes("web", v1alpha1.ConditionReporting, metav1.ConditionTrue, v1alpha1.ReasonMetricsReceived)
}
