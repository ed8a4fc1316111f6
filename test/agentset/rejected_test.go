/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"bytes"
	"encoding/json"
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

// rejecting makes the API server reject some writes of Agents with 403, as for a quota or a policy.
func rejecting(w *harness.World, said string, rejected func(method, body string) bool) {
	response, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Message: said,
		Reason: metav1.StatusReasonForbidden, Code: http.StatusForbidden,
	})
	if err != nil {
		w.Fatal(err)
	}
	w.API.Around(func(r *http.Request, send harness.Send) (*http.Response, error) {
		if r.Body == nil || !strings.Contains(r.URL.Path, "/"+w.Namespace+"/agents") || strings.HasSuffix(r.URL.Path, "/status") {
			return send(r)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !rejected(r.Method, string(body)) {
			return send(r)
		}
		return &http.Response{
			StatusCode: http.StatusForbidden, ProtoMajor: 1, ProtoMinor: 1, Request: r, ContentLength: int64(len(response)),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(response)),
		}, nil
	})
}

// quota is a ResourceQuota for so many Agents, without the time that the one of Kubernetes takes to count.
func quota(w *harness.World, most int) {
	rejecting(w, "exceeded quota: agents", func(method, _ string) bool {
		var list v1alpha1.AgentList
		err := w.Client.List(w.Context(), &list, client.InNamespace(w.Namespace))
		return method == http.MethodPost && err == nil && len(list.Items) >= most
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
