/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// shelf is a cache with these CloudProjects.
type shelf struct {
	client.Reader
	projects []v1alpha1.CloudProject
}

func (s shelf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if s.projects == nil {
		return context.DeadlineExceeded
	}
	list.(*v1alpha1.CloudProjectList).Items = s.projects
	return nil
}

func TestMetricsReportCloudProjects(t *testing.T) {
	cp := v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: "calyptia"}}
	cp.Status.DuplicateAgents = []string{"a", "b"}
	cp.Status.ResyncInterval = &metav1.Duration{Duration: 10 * time.Minute}
	cp.Status.Conditions = []metav1.Condition{
		{Type: v1alpha1.ConditionReady, Status: "False", Reason: v1alpha1.ReasonUnauthorized},
		{Type: v1alpha1.ConditionStalled, Status: "True", Reason: "written by somebody"},
		{Type: "Strange", Status: "True", Reason: "Strange"},
	}
	fresh := v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: "new"}}
	registry := prometheus.NewRegistry()
	if err := RegisterMetrics(registry, shelf{projects: []v1alpha1.CloudProject{cp, fresh}}, projectref.Shard{}, nil); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP calyptia_cloudproject_condition 1 for each condition that the CloudProject has, with its status and reason.
# TYPE calyptia_cloudproject_condition gauge
calyptia_cloudproject_condition{cloudproject="logs/calyptia",condition="Ready",reason="Unauthorized",status="False"} 1
calyptia_cloudproject_condition{cloudproject="logs/calyptia",condition="Stalled",reason="Other",status="True"} 1
# HELP calyptia_cloudproject_duplicate_agents Duplicate remote agents, with the machine ID of an Agent's own, that a user must delete; 100 at most.
# TYPE calyptia_cloudproject_duplicate_agents gauge
calyptia_cloudproject_duplicate_agents{cloudproject="logs/calyptia"} 2
calyptia_cloudproject_duplicate_agents{cloudproject="logs/new"} 0
# HELP calyptia_cloudproject_resync_interval_seconds Time between two checks of a remote agent, as the rate limit allows it, in seconds.
# TYPE calyptia_cloudproject_resync_interval_seconds gauge
calyptia_cloudproject_resync_interval_seconds{cloudproject="logs/calyptia"} 600
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestOnlyALeaderWithAFilledCacheReportsCloudProjects(t *testing.T) {
	cp := v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: "calyptia"}}
	filled := shelf{projects: []v1alpha1.CloudProject{cp}}
	waits, leads := make(chan struct{}), make(chan struct{})
	close(leads)
	for _, row := range []struct {
		name    string
		cache   shelf
		elected chan struct{}
		series  int
	}{
		{"a leader", filled, leads, 1},
		{"a leader whose cache is not filled", shelf{}, leads, 0},
		{"one that does not lead", filled, waits, 0},
	} {
		registry := prometheus.NewRegistry()
		if err := RegisterMetrics(registry, row.cache, projectref.Shard{}, row.elected); err != nil {
			t.Fatal(err)
		}
		if n, err := testutil.GatherAndCount(registry); n != row.series || err != nil {
			t.Errorf("%s: %d series, want %d, error %v", row.name, n, row.series, err)
		}
	}
}
