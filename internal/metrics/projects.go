/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// cloudProject is the label that names a CloudProject, as "namespace/name".
const cloudProject = "cloudproject"

// Breaker is the state of a circuit breaker.
type Breaker string

// The states of a circuit breaker.
const (
	BreakerClosed   Breaker = "closed"
	BreakerHalfOpen Breaker = "half-open"
	BreakerOpen     Breaker = "open"
)

// Projects are the metrics of the connections to the API.
type Projects struct {
	calls       calls
	breaker     *prometheus.GaugeVec
	throttled   *prometheus.CounterVec
	waits       *prometheus.CounterVec
	waited      *prometheus.CounterVec
	snapshots   *prometheus.CounterVec
	snapshotAge *prometheus.GaugeVec
	listed      *prometheus.GaugeVec
}

// NewProjects creates and registers the metrics.
func NewProjects(registerer prometheus.Registerer) (*Projects, error) {
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{cloudProject}, more...))
	}
	gauge := func(name, help string, more ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, append([]string{cloudProject}, more...))
	}
	m := &Projects{
		calls: newCalls(),
		breaker: gauge("calyptia_cloudproject_breaker_state",
			"1 for the state of the circuit breaker: closed, half-open or open. No request is made while it is open.", "state"),
		throttled: counter("calyptia_cloudproject_throttled_total",
			"How often Calyptia Cloud asked to wait (429, or Retry-After), so that no request was made for a time."),
		waits: counter("calyptia_cloudproject_rate_limit_waits_total",
			"Requests that had to wait for the rate limit of the CloudProject."),
		waited: counter("calyptia_cloudproject_rate_limit_wait_seconds_total",
			"How long requests waited for the rate limit of the CloudProject, in seconds."),
		snapshots: counter("calyptia_cloudproject_list_snapshots_total",
			"Snapshots of all remote agents that were read, by outcome (complete or failed).", "outcome"),
		snapshotAge: gauge("calyptia_cloudproject_list_snapshot_timestamp_seconds",
			"When the snapshot in use of all remote agents was begun, in seconds since 1970."),
		listed: gauge("calyptia_cloudproject_list_snapshot_agents",
			"Remote agents in the snapshot in use when it was read."),
	}
	for _, collector := range m.vectors() {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// vector is a metric with a series for each CloudProject.
type vector interface {
	prometheus.Collector
	DeletePartialMatch(prometheus.Labels) int
}

func (m *Projects) vectors() []vector {
	return []vector{
		m.calls.requests, m.calls.duration, m.breaker, m.throttled, m.waits, m.waited, m.snapshots, m.snapshotAge, m.listed,
	}
}

// Of returns the metrics of one CloudProject, named "namespace/name"; those of a nil Projects count nothing.
func (m *Projects) Of(name string) *Project {
	p := &Project{all: m, name: name}
	// Counters start at zero, so that Prometheus sees the first increase.
	p.record(func(m *Projects) {
		m.throttled.WithLabelValues(name)
		m.waits.WithLabelValues(name)
		m.waited.WithLabelValues(name)
		m.snapshots.WithLabelValues(name, "complete")
		m.snapshots.WithLabelValues(name, "failed")
	})
	p.Breaker(BreakerClosed)
	return p
}

// Project is the metrics of one CloudProject.
type Project struct {
	all  *Projects
	name string

	mu   sync.Mutex
	gone bool
}

// record does nothing for a deleted CloudProject, so that late updates leave no series.
func (p *Project) record(f func(*Projects)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all != nil && !p.gone {
		f(p.all)
	}
}

// Breaker records the state of the circuit breaker.
func (p *Project) Breaker(now Breaker) {
	p.record(func(m *Projects) {
		for _, state := range []Breaker{BreakerClosed, BreakerHalfOpen, BreakerOpen} {
			value := 0.0
			if state == now {
				value = 1
			}
			m.breaker.WithLabelValues(p.name, string(state)).Set(value)
		}
	})
}

// Throttled counts a response that asks to wait.
func (p *Project) Throttled() {
	p.record(func(m *Projects) { m.throttled.WithLabelValues(p.name).Inc() })
}

// Waits counts a request that has to wait for the rate limit.
func (p *Project) Waits(d time.Duration) {
	p.record(func(m *Projects) {
		m.waits.WithLabelValues(p.name).Inc()
		m.waited.WithLabelValues(p.name).Add(d.Seconds())
	})
}

// Listed records a complete list of all remote agents.
func (p *Project) Listed(startedAt time.Time, agents int) {
	p.record(func(m *Projects) {
		m.snapshots.WithLabelValues(p.name, "complete").Inc()
		m.snapshotAge.WithLabelValues(p.name).Set(float64(startedAt.Unix()))
		m.listed.WithLabelValues(p.name).Set(float64(agents))
	})
}

// NotListed counts a failed list.
func (p *Project) NotListed() {
	p.record(func(m *Projects) { m.snapshots.WithLabelValues(p.name, "failed").Inc() })
}

// Forget drops all series of a CloudProject that was deleted.
func (p *Project) Forget() {
	p.record(func(m *Projects) {
		for _, v := range m.vectors() {
			v.DeletePartialMatch(prometheus.Labels{cloudProject: p.name})
		}
		p.gone = true
	})
}
