/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agent

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/project"
)

// Metrics tell of all Agents together and, where that is wanted, of each.
type Metrics struct {
	reader         client.Reader
	defaultProject types.NamespacedName
	happenings     *prometheus.CounterVec
	reporting      *prometheus.GaugeVec
	lastMetrics    *prometheus.GaugeVec
	agents         *prometheus.Desc
	each           bool
}

// NewMetrics makes the metrics and registers them. reader is the cache; each says whether there are series
// for every single Agent.
func NewMetrics(registerer prometheus.Registerer, reader client.Reader, defaultProject types.NamespacedName, each bool) (*Metrics, error) {
	single := []string{"namespace", "agent"}
	m := &Metrics{
		reader: reader, defaultProject: defaultProject, each: each,
		happenings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "calyptia_agent_events_total",
			Help: "What happened to Agents, by the reason of the event, such as Registered, DriftCorrected, ReRegistered or Orphaned.",
		}, []string{"reason"}),
		reporting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "calyptia_agent_reporting",
			Help: "1 if the service receives metrics of the agent, 0 if not, as of the last look.",
		}, single),
		lastMetrics: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "calyptia_agent_last_metrics_timestamp_seconds",
			Help: "When the service received metrics of the agent last, as of the last look, in seconds since 1970.",
		}, single),
		agents: prometheus.NewDesc("calyptia_agents",
			"Agents by CloudProject and the condition Ready (True, False or Unknown).", []string{"cloudproject", "ready"}, nil),
	}
	for _, collector := range []prometheus.Collector{m.happenings, m.reporting, m.lastMetrics, m} {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Describe implements prometheus.Collector for what is counted at each scrape.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) { out <- m.agents }

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var list v1alpha1.AgentList
	if err := m.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return // The cache is not filled yet: no number is better than a wrong one.
	}
	count := map[[2]string]int{}
	for i := range list.Items {
		ref, _ := project.Ref(&list.Items[i], m.defaultProject)
		ready := "Unknown"
		if c := meta.FindStatusCondition(list.Items[i].Status.Conditions, v1alpha1.ConditionReady); c != nil {
			ready = string(c.Status)
		}
		count[[2]string{ref.String(), ready}]++
	}
	for labels, n := range count {
		out <- prometheus.MustNewConstMetric(m.agents, prometheus.GaugeValue, float64(n), labels[0], labels[1])
	}
}

func (m *Metrics) happened(h happening) {
	if m != nil {
		m.happenings.WithLabelValues(h.reason).Inc()
	}
}

// observed has the numbers of one Agent, which the status has only now and then.
func (m *Metrics) observed(key types.NamespacedName, remote *cloud.Agent, reporting bool) {
	if m == nil || !m.each {
		return
	}
	value := 0.0
	if reporting {
		value = 1
	}
	m.reporting.WithLabelValues(key.Namespace, key.Name).Set(value)
	if last := remote.LastMetricsAddedAt; last != nil {
		m.lastMetrics.WithLabelValues(key.Namespace, key.Name).Set(float64(last.Unix()))
	}
}

func (m *Metrics) forget(key types.NamespacedName) {
	if m != nil {
		m.reporting.DeleteLabelValues(key.Namespace, key.Name)
		m.lastMetrics.DeleteLabelValues(key.Namespace, key.Name)
	}
}
