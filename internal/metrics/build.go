/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/calyptia-agent-operator/operator/internal/version"
)

// RegisterBuild registers the metric with the build of the operator.
func RegisterBuild(registerer prometheus.Registerer) error {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "calyptia_agent_operator_build_info",
		Help: "1, with the build of the operator as labels.",
	}, []string{"version", "commit", "goversion"})
	build.WithLabelValues(version.Version, version.Commit, runtime.Version()).Set(1)
	return registerer.Register(build)
}
