/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
	"github.com/calyptia-agent-operator/operator/internal/projectref"
)

// RegisterMetrics registers the metrics of CloudProjects: see metrics.AtScrape.
func RegisterMetrics(registerer prometheus.Registerer, reader client.Reader, shard projectref.Shard, elected <-chan struct{}) error {
	desc := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"cloudproject"}, more...), nil)
	}
	condition := desc("calyptia_cloudproject_condition",
		"1 for each condition that the CloudProject has, with its status and reason.", "condition", "status", "reason")
	duplicates := desc("calyptia_cloudproject_duplicate_agents",
		"Duplicate remote agents, with the machine ID of an Agent's own, that a user must delete; 100 at most.")
	resync := desc("calyptia_cloudproject_resync_interval_seconds",
		"Time between two checks of a remote agent, as the rate limit allows it, in seconds.")
	return metrics.AtScrape(registerer, elected, func(ctx context.Context, add metrics.Add) {
		var list v1alpha1.CloudProjectList
		if err := reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return // Before the cache is filled, no number is better than a wrong one.
		}
		for i := range list.Items {
			cp := &list.Items[i]
			if !shard.Has(cp) {
				continue
			}
			name := client.ObjectKeyFromObject(cp).String()
			add.AddConditions(condition, name, cp.Status.Conditions,
				v1alpha1.ConditionReady, v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled)
			add(duplicates, float64(len(cp.Status.DuplicateAgents)), name)
			if interval := cp.Status.ResyncInterval; interval != nil {
				add(resync, interval.Seconds(), name)
			}
		}
	}, condition, duplicates, resync)
}
