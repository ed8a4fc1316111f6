/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// AgentsOptions configure the metrics of Agents.
type AgentsOptions struct {
	// Reader is the cache.
	Reader client.Reader
	// ProjectOf returns the CloudProject that an Agent refers to, and whether it refers to one.
	ProjectOf func(*v1alpha1.Agent) (types.NamespacedName, bool)
	// Allows reports whether a CloudProject allows Agents of a namespace; nil allows all. A decision is kept for some minutes.
	Allows func(ctx context.Context, cp *v1alpha1.CloudProject, namespace string) (bool, error)
	// Shard is what this operator manages.
	Shard Shard
	// Each enables series for each Agent.
	Each bool
	// Events are the reasons of the counted events.
	Events []string
	// Elected is closed once this process leads; nil if it always does.
	Elected <-chan struct{}
}

// Shard says which CloudProjects an operator manages, and whether it manages the Agents without one.
type Shard interface {
	Has(cp *v1alpha1.CloudProject) bool
	HasStrays() bool
}

// noProject is the label of Agents whose CloudProject does not exist, because the number of such references is not bounded, or does
// not allow them, because anybody may refer to it.
const noProject = "none"

// Agents are the metrics of all Agents together and, optionally, of each. Except for the counters they are computed at
// each scrape, in one pass over the cache.
type Agents struct {
	opts    AgentsOptions
	allowed allowed
	events  *prometheus.CounterVec

	agents, conditions, deleting, deletingSince, healthy, reporting, lastMetrics *prometheus.Desc

	kept kept
}

// kept is what is kept between two scrapes.
type kept struct {
	sync.Mutex
	last  map[types.NamespacedName]time.Time // metrics; the status is updated less often
	known sets.Set[string]                   // CloudProjects with counters
	most  int                                // of them, before those of deleted ones are dropped without a scrape
}

// unscraped is how much of deleted CloudProjects may be kept where nobody scrapes: tenants choose their names.
const unscraped = 100

// NewAgents creates and registers the metrics.
func NewAgents(registerer prometheus.Registerer, opts AgentsOptions) (*Agents, error) {
	all := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, append([]string{"cloudproject"}, more...), nil)
	}
	each := func(name, help string) *prometheus.Desc { return all(name, help, "agent_namespace", "agent") }
	m := &Agents{
		opts: opts, allowed: allowed{ask: opts.Allows, known: map[allowedKey]decision{}},
		kept: kept{last: map[types.NamespacedName]time.Time{}, known: sets.New[string](), most: unscraped},
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "calyptia_agent_events_total",
			Help: "What happened to Agents, by the reason of the event, such as Registered, DriftCorrected, Reregistered or Orphaned.",
		}, []string{"cloudproject", "reason"}),
		agents: all("calyptia_agents", "Agents by CloudProject."),
		conditions: all("calyptia_agents_condition",
			"Agents by CloudProject that have a condition with this status and reason.", "condition", "status", "reason"),
		deleting: all("calyptia_agents_deleting", "Agents that are being deleted."),
		deletingSince: all("calyptia_agents_deletion_oldest_timestamp_seconds",
			"Start of the longest-running deletion, in seconds since 1970."),
		healthy: each("calyptia_agent_healthy", "1 if Calyptia Cloud reports the agent as healthy, 0 if it reports anything else."),
		reporting: each("calyptia_agent_reporting",
			"1 if Calyptia Cloud receives metrics of the agent, 0 if not: the condition Reporting."),
		lastMetrics: each("calyptia_agent_last_metrics_timestamp_seconds",
			"When Calyptia Cloud last received metrics of the agent, as of the last check, in seconds since 1970."),
	}
	if err := registerer.Register(m.events); err != nil {
		return nil, err
	}
	return m, AtScrape(registerer, opts.Elected, m.compute,
		m.agents, m.conditions, m.deleting, m.deletingSince, m.healthy, m.reporting, m.lastMetrics)
}

// compute computes the metrics of a scrape.
func (m *Agents) compute(ctx context.Context, add Add) {
	var agents v1alpha1.AgentList
	mine, elsewhere, err := m.sweep(ctx)
	if err != nil || m.opts.Reader.List(ctx, &agents, client.UnsafeDisableDeepCopy) != nil {
		return // Before the cache is filled, no number is better than a wrong one.
	}
	sums := map[string]*sum{}
	for i := range agents.Items {
		agent := &agents.Items[i]
		name := noProject
		ref, named := m.opts.ProjectOf(agent)
		switch {
		case named && mine[ref] != nil:
			if m.allowed.has(ctx, mine[ref], agent.Namespace) {
				name = ref.String()
			}
		case named && elsewhere.Has(ref), !m.opts.Shard.HasStrays():
			continue
		}
		if sums[name] == nil {
			sums[name] = &sum{conditions: map[state]int{}}
		}
		sums[name].add(agent)
		if m.opts.Each {
			m.single(add, name, agent)
		}
	}
	for name, s := range sums {
		m.total(add, name, s)
	}
}

// sweep returns the CloudProjects that this operator manages, and the keys of the others. It begins the counters of the former, and
// drops what is kept of deleted ones.
func (m *Agents) sweep(ctx context.Context) (
	mine map[types.NamespacedName]*v1alpha1.CloudProject, elsewhere sets.Set[types.NamespacedName], err error,
) {
	var projects v1alpha1.CloudProjectList
	if err := m.opts.Reader.List(ctx, &projects, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, err
	}
	mine, elsewhere = map[types.NamespacedName]*v1alpha1.CloudProject{}, sets.New[types.NamespacedName]()
	for i := range projects.Items {
		key := client.ObjectKeyFromObject(&projects.Items[i])
		if !m.opts.Shard.Has(&projects.Items[i]) {
			elsewhere.Insert(key)
			continue
		}
		mine[key] = &projects.Items[i]
	}
	m.begin(mine)
	return mine, elsewhere, nil
}

// begin starts all counters of a CloudProject at zero, because Prometheus misses the first increase of a new series, and
// drops those of deleted CloudProjects.
func (m *Agents) begin(mine map[types.NamespacedName]*v1alpha1.CloudProject) {
	now := sets.New(noProject)
	for key := range mine {
		now.Insert(key.String())
	}
	m.kept.Lock()
	defer m.kept.Unlock()
	for name := range now {
		for _, reason := range m.opts.Events {
			m.events.WithLabelValues(name, reason)
		}
	}
	for name := range m.kept.known.Difference(now) {
		m.events.DeletePartialMatch(prometheus.Labels{"cloudproject": name})
	}
	m.kept.known, m.kept.most = now, 2*len(now)+unscraped
}

// state is the counted part of a condition.
type state struct {
	condition string
	status    metav1.ConditionStatus
	reason    string
}

// sum is the sum over the Agents of a CloudProject.
type sum struct {
	agents, deleting int
	deletingSince    time.Time
	conditions       map[state]int
}

func (s *sum) add(agent *v1alpha1.Agent) {
	s.agents++
	if at := agent.DeletionTimestamp; !at.IsZero() {
		s.deleting++
		if s.deletingSince.IsZero() || at.Time.Before(s.deletingSince) {
			s.deletingSince = at.Time
		}
	}
	judged := false
	for _, c := range agent.Status.Conditions {
		switch c.Type {
		case v1alpha1.ConditionReady:
			judged = true
		case v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled, v1alpha1.ConditionReporting,
			v1alpha1.ConditionDrifted, v1alpha1.ConditionFieldsIgnored:
		default:
			continue
		}
		s.conditions[state{c.Type, c.Status, reasonLabel(c.Reason)}]++
	}
	if !judged {
		s.conditions[state{v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgressing}]++
	}
}

func (m *Agents) total(add Add, name string, s *sum) {
	add(m.agents, float64(s.agents), name)
	add(m.deleting, float64(s.deleting), name)
	if s.deleting > 0 {
		add(m.deletingSince, float64(s.deletingSince.Unix()), name)
	}
	for c, n := range s.conditions {
		add(m.conditions, float64(n), name, c.condition, string(c.status), c.reason)
	}
}

func (m *Agents) single(add Add, name string, agent *v1alpha1.Agent) {
	remote := agent.Status.Agent
	if remote == nil {
		return
	}
	if remote.Status != "" {
		add(m.healthy, number(remote.Status == "healthy"), name, agent.Namespace, agent.Name)
	}
	for _, c := range agent.Status.Conditions {
		if c.Type == v1alpha1.ConditionReporting {
			add(m.reporting, number(c.Status == metav1.ConditionTrue), name, agent.Namespace, agent.Name)
		}
	}
	if remote.LastMetricsAddedAt == nil {
		return // What this process saw of another remote agent does not count.
	}
	m.kept.Lock()
	last := m.kept.last[client.ObjectKeyFromObject(agent)]
	m.kept.Unlock()
	if last.Before(remote.LastMetricsAddedAt.Time) {
		last = remote.LastMetricsAddedAt.Time
	}
	add(m.lastMetrics, float64(last.Unix()), name, agent.Namespace, agent.Name)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// Happened counts an event of an Agent of a namespace. cloudProject is nil if the Agent's does not exist.
func (m *Agents) Happened(ctx context.Context, cloudProject *v1alpha1.CloudProject, namespace, reason string) {
	if m == nil {
		return
	}
	name := noProject
	if cloudProject != nil && m.allowed.has(ctx, cloudProject, namespace) {
		name = client.ObjectKeyFromObject(cloudProject).String()
	}
	m.kept.Lock()
	m.kept.known.Insert(name)
	full := len(m.kept.known) > m.kept.most
	m.kept.Unlock()
	m.events.WithLabelValues(name, reason).Inc()
	if full {
		_, _, _ = m.sweep(ctx) // The cache is filled before Agents are reconciled.
	}
}

// Observed records when an Agent last sent metrics; the status is updated less often. last may be nil.
func (m *Agents) Observed(key types.NamespacedName, last *time.Time) {
	if m == nil || !m.opts.Each {
		return
	}
	m.kept.Lock()
	defer m.kept.Unlock()
	if last == nil {
		delete(m.kept.last, key)
		return
	}
	m.kept.last[key] = *last
}

// Forget drops what is kept of a deleted Agent.
func (m *Agents) Forget(key types.NamespacedName) {
	if m != nil {
		m.Observed(key, nil)
	}
}
