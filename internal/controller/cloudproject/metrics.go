/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// RegisterMetrics registers the metrics of CloudProjects, which are computed from the cache at each scrape once elected is
// closed; if it is nil, this process always leads.
func RegisterMetrics(registerer prometheus.Registerer, reader client.Reader, shard projectref.Shard, elected <-chan struct{}) error {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"cloudproject"}, more...), nil)
	}
	return registerer.Register(&collector{
		reader: reader, shard: shard, elected: elected,
		condition: desc("calyptia_cloudproject_condition",
			"1 for each condition that the CloudProject has, with its status and reason.", "condition", "status", "reason"),
		duplicates: desc("calyptia_cloudproject_duplicate_agents",
			"Duplicate remote agents, with the machine ID of an Agent's own, that a user must delete; 100 at most."),
		resync: desc("calyptia_cloudproject_resync_interval_seconds",
			"Time between two checks of a remote agent, as the rate limit allows it, in seconds."),
	})
}

// collector computes the metrics of CloudProjects.
type collector struct {
	reader  client.Reader
	shard   projectref.Shard
	elected <-chan struct{}

	condition, duplicates, resync *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.condition
	out <- c.duplicates
	out <- c.resync
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	if !metrics.Leads(c.elected) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var list v1alpha1.CloudProjectList
	if err := c.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return // Before the cache is filled, no number is better than a wrong one.
	}
	for i := range list.Items {
		if c.shard.Has(&list.Items[i]) {
			c.one(out, &list.Items[i])
		}
	}
}

func (c *collector) one(out chan<- prometheus.Metric, cp *v1alpha1.CloudProject) {
	name := client.ObjectKeyFromObject(cp).String()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, append([]string{name}, labels...)...)
	}
	for _, condition := range cp.Status.Conditions {
		switch condition.Type {
		case v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled:
		default:
			continue
		}
		if !v1alpha1.IsReason(condition.Reason) {
			condition.Reason = "Other"
		}
		gauge(c.condition, 1, condition.Type, string(condition.Status), condition.Reason)
	}
	gauge(c.duplicates, float64(len(cp.Status.DuplicateAgents)))
	if interval := cp.Status.ResyncInterval; interval != nil {
		gauge(c.resync, interval.Seconds())
	}
}
