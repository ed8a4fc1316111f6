/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// RegisterNamespaces registers the metric of the namespaces in --watch-namespaces; watched returns at each scrape which of
// them are watched.
func RegisterNamespaces(registerer prometheus.Registerer, watched func() map[string]bool) error {
	// Not "namespace": a ServiceMonitor sets that label to the operator's namespace.
	desc := prometheus.NewDesc("calyptia_agent_operator_namespace_watched",
		"1 if the namespace of --watch-namespaces is watched, 0 if it does not exist or the operator has no rights in it.",
		[]string{"watched_namespace"}, nil)
	return AtScrape(registerer, nil, func(_ context.Context, add Add) {
		for name, is := range watched() {
			add(desc, number(is), name)
		}
	}, desc)
}
