/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

// Package story_test follows the story of Reconcile: each line of it against a
// real API server and a fake cloud.
package story_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

func TestRegistrationCostsOnePostThreeWritesAndOneEvent(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	// The first Agent includes the list of remote agents, once per process.
	w.Ready(w.Apply("first"))
	w.Cloud.ResetRequests()
	w.API.Reset()

	a := w.Ready(w.Apply("web"))

	if got := w.Cloud.Requests(); len(got) != 1 || got[0].Method != http.MethodPost {
		t.Errorf("calls: %+v, want one POST", got)
	}
	writes, conflicts := w.API.Writes()
	// The response to the last write of the first Agent may arrive after it is Ready.
	writes = slices.DeleteFunc(writes, func(write harness.Write) bool { return strings.Contains(write.Path, "/first") })
	base := "/apis/cloud.calyptia.com/v1alpha1/namespaces/" + w.Namespace + "/agents/web"
	want := []harness.Write{
		{Method: http.MethodPatch, Path: base, Status: http.StatusOK},
		{Method: http.MethodPost, Path: "/api/v1/namespaces/" + w.Namespace + "/secrets", Status: http.StatusCreated},
		{Method: http.MethodPatch, Path: base + "/status", Status: http.StatusOK},
	}
	if diff := cmp.Diff(want, writes); diff != "" {
		t.Errorf("writes (%d conflicts), -want +got:\n%s", conflicts, diff)
	}
	if got := w.Events("web", 1); !slices.Equal(got, []string{"Registered"}) {
		t.Errorf("events: %v", got)
	}
	if a.Status.RegistrationIntent != a.Annotations[v1alpha1.AnnotationRegistrationIntent] || a.Status.Origin != v1alpha1.OriginRegistered {
		t.Errorf("the registration is not recorded: %+v", a.Status)
	}
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if c := harness.Condition(a, kind); c.Status == metav1.ConditionTrue {
			t.Errorf("%s is true on a Ready Agent: %s", kind, c.Message)
		}
	}
}

func TestRegistersWhatIsDeclared(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web", func(a *v1alpha1.Agent) { a.Spec.Name = "web-logs.example.com" }))
	remote := w.One("web")
	if remote.Name != "web-logs.example.com" || remote.Type != "fluentbit" || remote.Version != "v4.0.0" || remote.Edition != "community" {
		t.Errorf("registered as %+v", remote)
	}
}
