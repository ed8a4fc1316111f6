/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// rejecting makes the API server reject some writes of a resource with 403, as for a quota or a policy.
func rejecting(w *harness.World, resource, said string, rejected func(r *http.Request, body string) bool) {
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Body == nil || !strings.Contains(r.URL.Path, "/"+w.Namespace+"/"+resource) || strings.HasSuffix(r.URL.Path, "/status") {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !rejected(r, string(body)) {
			return send(r)
		}
		return harness.Refusal(r, http.StatusForbidden, metav1.StatusReasonForbidden, said)
	})
}

// quota is a ResourceQuota for so many Agents, without the time that the one of Kubernetes takes to count.
func quota(w *harness.World, most int) {
	rejecting(w, "agents", "exceeded quota: agents", func(r *http.Request, _ string) bool {
		var list v1alpha1.AgentList
		err := w.Client.List(w.Context(), &list, client.InNamespace(w.Namespace))
		return r.Method == http.MethodPost && err == nil && len(list.Items) >= most
	})
}

// replicas makes a StatefulSet have so many pods, with the ordinals from start on.
func replicas(w *harness.World, name string, start, count int32) {
	w.Helper()
	var s appsv1.StatefulSet
	w.Read(w.Key(name), &s)
	base := s.DeepCopy()
	s.Spec.Replicas, s.Spec.Ordinals = &count, &appsv1.StatefulSetOrdinals{Start: start}
	if err := w.Client.Patch(w.Context(), &s, client.MergeFrom(base)); err != nil {
		w.Fatal(err)
	}
}

// ofStatefulSet makes a set that of a StatefulSet of its name.
func ofStatefulSet(set *v1alpha1.AgentSet) {
	set.Spec.TargetRef = v1alpha1.WorkloadReference{Kind: v1alpha1.TargetStatefulSet, Name: set.Name}
}

// An Agent that the API server rejects does not keep the sessions of the others from being stored.
func TestRejectedAgent_SessionsOfTheOthersAreStored(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	quota(w, 3)
	w.Start()
	w.AgentSet("db", w.StatefulSet("db", 3), ofStatefulSet)
	w.SetReady("db", 3)
	replicas(w, "db", 0, 4)
	stalled(w, "db", v1alpha1.ReasonAPIServer, "db-db-3", "exceeded quota")
	was := w.Get("db-db-0").Status.ID
	w.Clock.Step(time.Minute) // Skips the pause before the next batch.
	w.Cloud.Remove(was)
	w.Poke("db-db-0")
	w.Eventually("db-0 is registered again, and its session stored", func() error {
		is := w.Get("db-db-0").Status.ID
		ids, _ := w.StoredSessions(w.GetSet("db"))
		if is == was || is == "" || ids["db-0"] != is {
			return fmt.Errorf("the session of %q, which was %q, is that of %q", is, was, ids["db-0"])
		}
		return nil
	})
	stalled(w, "db", v1alpha1.ReasonAPIServer, "db-db-3", "exceeded quota")
}

// The replicas that are replaced have used up the quota: their Agents are deleted, so that the new ones get theirs.
func TestRejectedAgents_RemovalsMakeRoom(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	quota(w, 20)
	w.Start()
	w.AgentSet("db", w.StatefulSet("db", 20), ofStatefulSet, delay(0))
	w.SetReady("db", 20)
	replicas(w, "db", 16, 20)
	w.Eventually("the former replicas have no Agents, and all new ones have theirs", func() error {
		agents := w.AgentsOf("db")
		for ordinal := range 36 {
			if _, exists := agents[fmt.Sprint("db-", ordinal)]; exists != (ordinal >= 16) {
				return fmt.Errorf("%d Agents, of db-%d: %t", len(agents), ordinal, exists)
			}
		}
		return nil
	})
}

// A policy rejects the template, or all deletions. What it does not reject is written.
func TestRejectedAgents_OtherWritesGoOn(t *testing.T) {
	t.Parallel()
	const all, less = 20, 10
	template := func(r *http.Request, body string) bool {
		return r.Method == http.MethodPatch && strings.Contains(body, newVersion)
	}
	for name, row := range map[string]struct {
		rejected func(r *http.Request, body string) bool
		delay    time.Duration
		wrong    func(agent *v1alpha1.Agent, removed bool) bool
	}{
		"deletions": {template, 0, func(agent *v1alpha1.Agent, removed bool) bool { return removed && agent != nil }},
		"marks": {template, time.Hour, func(agent *v1alpha1.Agent, removed bool) bool {
			return removed == (agent.Annotations[v1alpha1.AnnotationRemovalStarted] == "")
		}},
		"updates": {func(r *http.Request, _ string) bool { return r.Method == http.MethodDelete }, 0, func(agent *v1alpha1.Agent, removed bool) bool {
			return removed == (agent.Spec.Version == newVersion)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := harness.New(t, cloudtest.Settings{}, harness.Idle)
			rejecting(w, "agents", "not allowed here", row.rejected)
			w.Start()
			w.AgentSet("db", w.StatefulSet("db", all), ofStatefulSet, delay(row.delay))
			w.SetReady("db", all)
			w.Stop()
			replicas(w, "db", 0, less)
			w.ChangeSet("db", func(set *v1alpha1.AgentSet) { set.Spec.Template.Spec.Version = newVersion })
			w.Start()
			stalled(w, "db", v1alpha1.ReasonAPIServer, "not allowed here")
			w.Eventually("what is not rejected is written", func() error {
				agents := w.AgentsOf("db")
				for ordinal := range all {
					pod := fmt.Sprint("db-", ordinal)
					var agent *v1alpha1.Agent
					if is, exists := agents[pod]; exists {
						agent = &is
					}
					if row.wrong(agent, ordinal >= less) {
						return fmt.Errorf("%s: %+v", pod, agent)
					}
				}
				return nil
			})
		})
	}
}
