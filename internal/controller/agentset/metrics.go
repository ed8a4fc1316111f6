/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/metrics"
)

// RegisterMetrics registers the metrics of AgentSets: see metrics.AtScrape.
func (r *Reconciler) RegisterMetrics(registerer prometheus.Registerer, elected <-chan struct{}) error {
	agents := prometheus.NewDesc("calyptia_agentset_agents",
		"Agents of the AgentSet, by state: desired, current, upToDate, ready, reporting.", []string{"agentset", "state"}, nil)
	condition := prometheus.NewDesc("calyptia_agentset_condition",
		"1 for each condition that the AgentSet has, with its status and reason.", []string{"agentset", "condition", "status", "reason"}, nil)
	return metrics.AtScrape(registerer, elected, func(ctx context.Context, add metrics.Add) {
		var list v1alpha1.AgentSetList
		if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return // Before the cache is filled, no number is better than a wrong one.
		}
		for i := range list.Items {
			set := &list.Items[i]
			if !r.inShard(ctx, set) {
				continue
			}
			name, status := client.ObjectKeyFromObject(set).String(), &set.Status
			for state, number := range map[string]int32{
				"desired": status.Desired, "current": status.Current, "upToDate": status.UpToDate,
				"ready": status.Ready, "reporting": status.Reporting,
			} {
				add(agents, float64(number), name, state)
			}
			add.AddConditions(condition, name, status.Conditions, v1alpha1.ConditionReady, v1alpha1.ConditionReconciling,
				v1alpha1.ConditionStalled, v1alpha1.ConditionReporting)
		}
	}, agents, condition)
}
