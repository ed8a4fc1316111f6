/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

// RegisterMetrics registers the metrics of AgentSets, which are computed from the cache at each scrape once elected is
// closed; if it is nil, this process always leads.
func (r *Reconciler) RegisterMetrics(registerer prometheus.Registerer, elected <-chan struct{}) error {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"agentset"}, more...), nil)
	}
	return registerer.Register(&collector{
		r: r, elected: elected,
		agents: desc("calyptia_agentset_agents",
			"Agents of the AgentSet, by state: desired, current, upToDate, ready, reporting.", "state"),
		condition: desc("calyptia_agentset_condition",
			"1 for each condition that the AgentSet has, with its status and reason.", "condition", "status", "reason"),
	})
}

// collector computes the metrics of AgentSets.
type collector struct {
	r       *Reconciler
	elected <-chan struct{}

	agents, condition *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.agents
	out <- c.condition
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	if !metrics.Leads(c.elected) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var list v1alpha1.AgentSetList
	if err := c.r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return // Before the cache is filled, no number is better than a wrong one.
	}
	for i := range list.Items {
		if c.r.inShard(ctx, &list.Items[i]) {
			c.one(out, &list.Items[i])
		}
	}
}

func (c *collector) one(out chan<- prometheus.Metric, set *v1alpha1.AgentSet) {
	name, status := client.ObjectKeyFromObject(set).String(), &set.Status
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{name}, labels...)...)
	}
	for state, number := range map[string]int32{
		"desired": status.Desired, "current": status.Current, "upToDate": status.UpToDate,
		"ready": status.Ready, "reporting": status.Reporting,
	} {
		gauge(c.agents, float64(number), state)
	}
	for _, condition := range status.Conditions {
		if !v1alpha1.IsReason(condition.Reason) {
			condition.Reason = "Other"
		}
		switch condition.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionReporting:
			gauge(c.condition, 1, condition.Type, string(condition.Status), condition.Reason)
		}
	}
}
