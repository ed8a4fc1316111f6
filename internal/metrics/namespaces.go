/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import "github.com/prometheus/client_golang/prometheus"

// RegisterNamespaces registers the metric of the namespaces in --watch-namespaces; watched returns at each scrape which of
// them are watched.
func RegisterNamespaces(registerer prometheus.Registerer, watched func() map[string]bool) error {
	return registerer.Register(&namespaces{
		watched: watched,
		// Not "namespace": a ServiceMonitor sets that label to the operator's namespace.
		desc: prometheus.NewDesc("calyptia_agent_operator_namespace_watched",
			"1 if the namespace of --watch-namespaces is watched, 0 if it does not exist or the operator has no rights in it.",
			[]string{"watched_namespace"}, nil),
	})
}

type namespaces struct {
	watched func() map[string]bool
	desc    *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (n *namespaces) Describe(out chan<- *prometheus.Desc) { out <- n.desc }

// Collect implements prometheus.Collector.
func (n *namespaces) Collect(out chan<- prometheus.Metric) {
	for name, watched := range n.watched() {
		value := 0.0
		if watched {
			value = 1
		}
		out <- prometheus.MustNewConstMetric(n.desc, prometheus.GaugeValue, value, name)
	}
}
