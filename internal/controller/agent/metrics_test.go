/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// fleetOf is a cache with these Agents.
type fleetOf []v1alpha1.Agent

func (f fleetOf) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	panic("nothing is read one by one")
}

func (f fleetOf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	list.(*v1alpha1.AgentList).Items = f
	return nil
}

func TestMetricsTellOfAllAgentsAndOfEach(t *testing.T) {
	agent := func(name string, ready metav1.ConditionStatus) v1alpha1.Agent {
		a := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: name}}
		if ready != "" {
			a.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: ready}}
		}
		return a
	}
	fleet := fleetOf{agent("a", "True"), agent("b", "True"), agent("c", "False"), agent("d", "")}
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry, fleet, types.NamespacedName{Namespace: "logs", Name: "calyptia"}, true)
	if err != nil {
		t.Fatal(err)
	}
	last := time.Unix(1_800_000_000, 0)
	m.observed(types.NamespacedName{Namespace: "logs", Name: "a"}, &cloud.Agent{LastMetricsAddedAt: &last}, true)
	m.observed(types.NamespacedName{Namespace: "logs", Name: "b"}, &cloud.Agent{}, false)
	m.observed(types.NamespacedName{Namespace: "logs", Name: "gone"}, &cloud.Agent{LastMetricsAddedAt: &last}, true)
	m.forget(types.NamespacedName{Namespace: "logs", Name: "gone"})
	m.happened(corrected)
	want := `
# HELP calyptia_agent_events_total What happened to Agents, by the reason of the event, such as Registered, DriftCorrected, ReRegistered or Orphaned.
# TYPE calyptia_agent_events_total counter
calyptia_agent_events_total{reason="DriftCorrected"} 1
# HELP calyptia_agent_last_metrics_timestamp_seconds When the service received metrics of the agent last, as of the last look, in seconds since 1970.
# TYPE calyptia_agent_last_metrics_timestamp_seconds gauge
calyptia_agent_last_metrics_timestamp_seconds{agent="a",namespace="logs"} 1.8e+09
# HELP calyptia_agent_reporting 1 if the service receives metrics of the agent, 0 if not, as of the last look.
# TYPE calyptia_agent_reporting gauge
calyptia_agent_reporting{agent="a",namespace="logs"} 1
calyptia_agent_reporting{agent="b",namespace="logs"} 0
# HELP calyptia_agents Agents by CloudProject and the condition Ready (True, False or Unknown).
# TYPE calyptia_agents gauge
calyptia_agents{cloudproject="logs/calyptia",ready="False"} 1
calyptia_agents{cloudproject="logs/calyptia",ready="True"} 2
calyptia_agents{cloudproject="logs/calyptia",ready="Unknown"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}

func TestMetricsOfEachAgentCanBeTurnedOff(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := NewMetrics(registry, fleetOf{}, types.NamespacedName{}, false)
	if err != nil {
		t.Fatal(err)
	}
	m.observed(types.NamespacedName{Namespace: "logs", Name: "a"}, &cloud.Agent{}, true)
	if n, err := testutil.GatherAndCount(registry); n != 0 || err != nil {
		t.Errorf("%d series, error %v", n, err)
	}
}
