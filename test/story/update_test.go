/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// sent is the body of the last PATCH.
func sent(t *testing.T, w *harness.World) map[string]any {
	t.Helper()
	for _, r := range slices.Backward(w.Cloud.Requests()) {
		if r.Method == http.MethodPatch {
			var body map[string]any
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatal(err)
			}
			return body
		}
	}
	t.Fatal("there was no PATCH")
	return nil
}

func TestUpdateSendsOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	full := func(a *v1alpha1.Agent) {
		a.Spec.Name, a.Spec.Edition, a.Spec.Flags = "web", "community", []string{"--verbose"}
		a.Spec.Metadata = &apiextensionsv1.JSON{Raw: []byte(`{"team":"payments","n":1}`)}
	}
	rows := []struct {
		name   string
		change func(*v1alpha1.Agent)
		want   map[string]any
	}{
		{"name", func(a *v1alpha1.Agent) { a.Spec.Name = "web-2" }, map[string]any{"name": "web-2"}},
		{"version", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.1.0" }, map[string]any{"version": "v4.1.0"}},
		{"edition", func(a *v1alpha1.Agent) { a.Spec.Edition = "enterprise" }, map[string]any{"edition": "enterprise"}},
		{"flags are replaced", func(a *v1alpha1.Agent) { a.Spec.Flags = []string{"-q"} }, map[string]any{"flags": []any{"-q"}}},
		{"an empty list clears the flags", func(a *v1alpha1.Agent) { a.Spec.Flags = []string{} }, map[string]any{"flags": []any{}}},
		{"rawConfig", func(a *v1alpha1.Agent) { a.Spec.RawConfig = "[INPUT]\n    name cpu\n" }, map[string]any{"rawConfig": "[INPUT]\n    name cpu\n"}},
		{"metadata is replaced as a whole", func(a *v1alpha1.Agent) {
			a.Spec.Metadata = &apiextensionsv1.JSON{Raw: []byte(`{"team":"search"}`)}
		}, map[string]any{"metadata": map[string]any{"team": "search"}}},
		{"fleet", func(a *v1alpha1.Agent) {
			a.Spec.Fleet = &v1alpha1.FleetReference{ID: "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"}
		},
			map[string]any{"fleetID": "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11"}},
		{"environment", func(a *v1alpha1.Agent) { a.Spec.Environment = &v1alpha1.EnvironmentReference{ID: "staging"} }, map[string]any{"environmentID": "staging"}},
		{"two fields in one call", func(a *v1alpha1.Agent) { a.Spec.Version, a.Spec.Name = "v5.0.0", "web-5" },
			map[string]any{"version": "v5.0.0", "name": "web-5"}},
	}
	w := harness.New(t, cloudtest.Settings{})
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := w.For(t)
			name := w.Apply(fmt.Sprintf("update-%d", i), full)
			w.Ready(name)
			w.Check(name) // Before the first sync, an update reads the agent first.
			w.Cloud.ResetRequests()
			w.API.Reset()
			w.Change(name, row.change)
			a := w.Ready(name)
			if diff := cmp.Diff(row.want, sent(t, w)); diff != "" {
				t.Errorf("PATCH, -want +got:\n%s", diff)
			}
			if calls := len(w.Cloud.Requests()); calls > 2 {
				t.Errorf("%d calls, want at most 2", calls)
			}
			if writes, _ := w.API.Writes(); len(writes) != 1 {
				t.Errorf("writes: %+v, want one of the status", writes)
			}
			if a.Status.Applied.Generation != a.Generation {
				t.Errorf("applied generation %d, want %d", a.Status.Applied.Generation, a.Generation)
			}
		})
	}
}

func TestOmittedFieldsAreLeftAlone(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Flags, a.Spec.Edition = []string{"-v"}, "enterprise" }))
	w.Cloud.ResetRequests()
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Flags, a.Spec.Edition = nil, "" })
	w.Ready("web")
	if n := w.Cloud.Count(http.MethodPatch, cloudtest.RouteAgent); n != 0 {
		t.Errorf("%d PATCHes, want none", n)
	}
	if remote := w.One("web"); remote.Edition != "enterprise" || !slices.Equal(remote.Flags, []string{"-v"}) {
		t.Errorf("the remote agent changed: %+v", remote)
	}
}

func TestAnUpToDateAgentCostsNothing(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	a := w.Ready(w.Apply("web"))
	w.Cloud.ResetRequests()
	w.API.Reset()
	w.Poke("web")
	w.Eventually("the request to reconcile is handled", func() error {
		if now := w.Get("web"); now.Status.LastHandledReconcileAt == a.Status.LastHandledReconcileAt {
			return errors.New("not yet")
		}
		return nil
	})
	if writes, _ := w.API.Writes(); len(writes) != 1 {
		t.Errorf("writes: %+v, want only the one that handles the request", writes)
	}
	// A label triggers nothing, and the second request only records itself.
	w.API.Reset()
	w.Cloud.ResetRequests()
	w.Restart()
	w.Ready(w.Apply("other"))
	writes, _ := w.API.Writes()
	for _, write := range writes {
		if write.Path == "/apis/cloud.calyptia.com/v1alpha1/namespaces/"+w.Namespace+"/agents/web/status" {
			t.Errorf("a restart wrote the status of an Agent that had nothing to do")
		}
	}
	for _, r := range w.Cloud.Requests() {
		if r.AgentID == a.Status.ID {
			t.Errorf("a restart called Calyptia Cloud for an Agent that had nothing to do: %s %s", r.Method, r.Path)
		}
	}
}

func TestDriftBySyncPolicy(t *testing.T) {
	t.Parallel()
	rows := []struct {
		name    string
		policy  v1alpha1.SyncPolicy
		want    string // final version of the remote agent
		drifted bool
	}{
		{"Enforce reverts the drift", v1alpha1.SyncEnforce, "v4.0.0", false},
		{"OnChange only reports the drift", v1alpha1.SyncOnChange, "v9.9.9", true},
	}
	w := harness.New(t, cloudtest.Settings{})
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := w.For(t)
			name := w.Apply(fmt.Sprintf("drift-%d", i), func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = row.policy })
			id := w.Ready(name).Status.ID
			w.Cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
			w.Poke(name)
			w.Eventually("the drift is dealt with", func() error {
				a := w.Get(name)
				remote, _ := w.Cloud.Agent(id)
				drift := harness.Condition(a, v1alpha1.ConditionDrifted)
				if remote.Version != row.want || (drift.Status == "True") != row.drifted || a.Status.Agent.Version != row.want {
					return fmt.Errorf("remote %s, status %s, conditions %s", remote.Version, a.Status.Agent.Version, harness.Describe(a))
				}
				return nil
			})
			if row.drifted {
				if a := w.Ready(name); !slices.Equal(a.Status.DriftedFields, []string{"version"}) {
					t.Errorf("drift: %v", a.Status.DriftedFields)
				}
				return
			}
			if got := w.Events(name, 2); !slices.Contains(got, "DriftCorrected") {
				t.Errorf("events: %v", got)
			}
		})
	}
}

func TestOnChangeStillAppliesEachChange(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncOnChange })).Status.ID
	w.Cloud.Mutate(id, func(a *cloud.Agent) { a.RawConfig = "changed elsewhere" })
	w.Change("web", func(a *v1alpha1.Agent) { a.Spec.Version = "v4.2.0" })
	a := w.Ready("web")
	if diff := cmp.Diff(map[string]any{"version": "v4.2.0"}, sent(t, w)); diff != "" {
		t.Errorf("PATCH, -want +got:\n%s", diff)
	}
	if !slices.Equal(a.Status.DriftedFields, []string{"rawConfig"}) {
		t.Errorf("drift: %v", a.Status.DriftedFields)
	}
}

func TestObserveWritesNothingRemote(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	id := w.Register("legacy", "machine-1").ID
	w.Cloud.ResetRequests()
	w.Apply("seen", func(a *v1alpha1.Agent) {
		a.Spec.AgentID, a.Spec.SyncPolicy, a.Spec.Version = id, v1alpha1.SyncObserve, "v7.7.7"
	})
	a := w.Ready("seen")
	if got := harness.Condition(a, v1alpha1.ConditionReady).Reason; got != v1alpha1.ReasonObserved {
		t.Errorf("reason %s", got)
	}
	if !slices.Equal(a.Status.DriftedFields, []string{"rawConfig", "version"}) {
		t.Errorf("drift: %v", a.Status.DriftedFields)
	}
	w.Delete("seen")
	w.Gone("seen")
	for _, r := range w.Cloud.Requests() {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.Path)
		}
	}
}
