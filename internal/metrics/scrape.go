/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// Add adds a value to a scrape.
type Add func(desc *prometheus.Desc, value float64, labels ...string)

// AtScrape registers gauges that are computed from the cache at each scrape once elected is closed: only the leader reports
// the objects of the cluster, or sums would count them several times. If elected is nil, this process always leads.
func AtScrape(
	registerer prometheus.Registerer, elected <-chan struct{}, compute func(context.Context, Add), descs ...*prometheus.Desc,
) error {
	return registerer.Register(&atScrape{elected: elected, compute: compute, descs: descs})
}

type atScrape struct {
	elected <-chan struct{}
	compute func(context.Context, Add)
	descs   []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (s *atScrape) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range s.descs {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (s *atScrape) Collect(out chan<- prometheus.Metric) {
	if s.elected != nil {
		select {
		case <-s.elected:
		default:
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.compute(ctx, func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	})
}

// AddConditions adds the conditions of an object that have one of the types.
func (add Add) AddConditions(desc *prometheus.Desc, name string, conditions []metav1.Condition, types ...string) {
	for _, kind := range types {
		for _, c := range conditions {
			if c.Type == kind {
				add(desc, 1, name, c.Type, string(c.Status), reasonLabel(c.Reason))
			}
		}
	}
}

// reasonLabel bounds the number of labels: anybody who may write a status may write any reason.
func reasonLabel(reason string) string {
	if v1alpha1.IsReason(reason) {
		return reason
	}
	return "Other"
}
