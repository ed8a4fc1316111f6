/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package metrics

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// shelf is a cache with these objects.
type shelf struct {
	agents   []v1alpha1.Agent
	projects []v1alpha1.CloudProject
	empty    bool // not filled yet
}

func (s *shelf) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	panic("nothing is read one by one")
}

func (s *shelf) List(_ context.Context, list client.ObjectList, _ ...client.ListOption) error {
	if s.empty {
		return context.DeadlineExceeded
	}
	switch l := list.(type) {
	case *v1alpha1.AgentList:
		l.Items = s.agents
	case *v1alpha1.CloudProjectList:
		l.Items = s.projects
	}
	return nil
}

var logs = types.NamespacedName{Namespace: "logs", Name: "calyptia"}

func projectNamed(name string) v1alpha1.CloudProject {
	return v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: name}}
}

// judged is an Agent with conditions, given as type, status and reason.
func judged(name string, conditions ...[3]string) v1alpha1.Agent {
	a := v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: "web", Name: name}}
	for _, c := range conditions {
		a.Status.Conditions = append(a.Status.Conditions, metav1.Condition{
			Type: c[0], Status: metav1.ConditionStatus(c[1]), Reason: c[2],
		})
	}
	return a
}

// all is a shard with everything.
type all struct{}

func (all) Has(*v1alpha1.CloudProject) bool { return true }
func (all) HasStrays() bool                 { return true }

// refersTo is the CloudProject that an Agent refers to, or the default.
func refersTo(a *v1alpha1.Agent) (types.NamespacedName, bool) {
	if ref := a.Spec.ProjectRef; ref != nil {
		namespace := ref.Namespace
		if namespace == "" {
			namespace = a.Namespace
		}
		return types.NamespacedName{Namespace: namespace, Name: ref.Name}, true
	}
	return logs, true
}

func measure(t *testing.T, opts AgentsOptions) (*Agents, *prometheus.Registry) {
	t.Helper()
	opts.Shard, opts.Events = all{}, []string{"Registered", "Reregistered", "Orphaned", "Deleted"}
	registry := prometheus.NewRegistry()
	m, err := NewAgents(registry, opts)
	if err != nil {
		t.Fatal(err)
	}
	return m, registry
}

// exposes compares the series of these names.
func exposes(t *testing.T, registry *prometheus.Registry, want string, names ...string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, family := range families {
		if !slices.Contains(names, family.GetName()) {
			continue
		}
		for _, metric := range family.Metric {
			var labels []string
			for _, label := range metric.Label {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			value := metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			got = append(got, fmt.Sprintf("%s{%s} %v", family.GetName(), strings.Join(labels, ","), value))
		}
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(want), "\n"), got); diff != "" {
		t.Errorf("metrics (-want +got):\n%s", diff)
	}
}

func TestMetricsReportAllAgentsTogether(t *testing.T) {
	old := metav1.NewTime(time.Unix(1_700_000_000, 0))
	leaving := judged("d", [3]string{"Ready", "False", "InUse"})
	leaving.DeletionTimestamp = &metav1.Time{Time: old.Add(time.Hour)}
	leavingLonger := judged("e", [3]string{"Ready", "False", "InUse"}, [3]string{"Strange", "True", "Strange"})
	leavingLonger.DeletionTimestamp = &old
	lost := judged("f", [3]string{"Ready", "False", "written by somebody"})
	lost.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "made-up"}
	_, registry := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: &shelf{
		projects: []v1alpha1.CloudProject{projectNamed("calyptia")},
		agents: []v1alpha1.Agent{
			judged("a", [3]string{"Ready", "True", "Applied"}, [3]string{"Reporting", "True", "MetricsReceived"}),
			judged("b", [3]string{"Ready", "True", "Applied"}, [3]string{"Reporting", "False", "NeverReported"}),
			judged("c"), leaving, leavingLonger, lost,
		},
	}})
	exposes(t, registry, `
calyptia_agents{cloudproject=logs/calyptia} 5
calyptia_agents{cloudproject=none} 1
calyptia_agents_condition{cloudproject=logs/calyptia,condition=Ready,reason=Applied,status=True} 2
calyptia_agents_condition{cloudproject=logs/calyptia,condition=Ready,reason=InUse,status=False} 2
calyptia_agents_condition{cloudproject=logs/calyptia,condition=Ready,reason=Progressing,status=Unknown} 1
calyptia_agents_condition{cloudproject=logs/calyptia,condition=Reporting,reason=MetricsReceived,status=True} 1
calyptia_agents_condition{cloudproject=logs/calyptia,condition=Reporting,reason=NeverReported,status=False} 1
calyptia_agents_condition{cloudproject=none,condition=Ready,reason=Other,status=False} 1
calyptia_agents_deleting{cloudproject=logs/calyptia} 2
calyptia_agents_deleting{cloudproject=none} 0
calyptia_agents_deletion_oldest_timestamp_seconds{cloudproject=logs/calyptia} 1.7e+09
`, "calyptia_agents", "calyptia_agents_condition", "calyptia_agents_deleting", "calyptia_agents_deletion_oldest_timestamp_seconds")
}

// reported is an Agent of which the status says these.
func reported(name, status string, last int64) v1alpha1.Agent {
	a := judged(name, [3]string{"Reporting", "True", "MetricsReceived"})
	a.Status.Agent = &v1alpha1.RemoteAgent{Status: status, LastMetricsAddedAt: &metav1.Time{Time: time.Unix(last, 0)}}
	return a
}

func TestMetricsReportEachAgent(t *testing.T) {
	registered := judged("new") // The response to a registration does not show its health.
	registered.Status.Agent = &v1alpha1.RemoteAgent{}
	cache := &shelf{
		projects: []v1alpha1.CloudProject{projectNamed("calyptia")},
		agents: []v1alpha1.Agent{
			reported("a", "healthy", 1_700_000_000), reported("b", "unhealthy", 1_700_000_000), reported("c", "odd", 1_700_000_000), registered,
		},
	}
	m, registry := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache, Each: true})
	live := time.Unix(1_800_000_000, 0)
	for _, name := range []string{"a", "c"} {
		m.Observed(types.NamespacedName{Namespace: "web", Name: name}, &live)
	}
	m.Forget(types.NamespacedName{Namespace: "web", Name: "c"})
	exposes(t, registry, `
calyptia_agent_healthy{agent=a,agent_namespace=web,cloudproject=logs/calyptia} 1
calyptia_agent_healthy{agent=b,agent_namespace=web,cloudproject=logs/calyptia} 0
calyptia_agent_healthy{agent=c,agent_namespace=web,cloudproject=logs/calyptia} 0
calyptia_agent_last_metrics_timestamp_seconds{agent=a,agent_namespace=web,cloudproject=logs/calyptia} 1.8e+09
calyptia_agent_last_metrics_timestamp_seconds{agent=b,agent_namespace=web,cloudproject=logs/calyptia} 1.7e+09
calyptia_agent_last_metrics_timestamp_seconds{agent=c,agent_namespace=web,cloudproject=logs/calyptia} 1.7e+09
calyptia_agent_reporting{agent=a,agent_namespace=web,cloudproject=logs/calyptia} 1
calyptia_agent_reporting{agent=b,agent_namespace=web,cloudproject=logs/calyptia} 1
calyptia_agent_reporting{agent=c,agent_namespace=web,cloudproject=logs/calyptia} 1
`, "calyptia_agent_healthy", "calyptia_agent_reporting", "calyptia_agent_last_metrics_timestamp_seconds")

	off, registry := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache})
	off.Observed(types.NamespacedName{Namespace: "web", Name: "a"}, &live)
	for _, name := range []string{"calyptia_agent_healthy", "calyptia_agent_reporting", "calyptia_agent_last_metrics_timestamp_seconds"} {
		if n, err := testutil.GatherAndCount(registry, name); n != 0 || err != nil {
			t.Errorf("%d series of %s although they are turned off, error %v", n, name, err)
		}
	}
	if n, err := testutil.GatherAndCount(registry, "calyptia_agents"); n != 1 || err != nil {
		t.Errorf("%d series of calyptia_agents, error %v", n, err)
	}
}

func TestOnlyALeaderWithAFilledCacheReportsAgents(t *testing.T) {
	elected := make(chan struct{})
	cache := &shelf{empty: true, projects: []v1alpha1.CloudProject{projectNamed("calyptia")}, agents: []v1alpha1.Agent{judged("a")}}
	_, registry := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache, Elected: elected})
	count := func() int {
		n, err := testutil.GatherAndCount(registry, "calyptia_agents", "calyptia_agents_condition")
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	close(elected)
	if n := count(); n != 0 {
		t.Errorf("%d series from an empty cache", n)
	}
	cache.empty = false
	if n := count(); n != 2 {
		t.Errorf("%d series, want 2", n)
	}
	_, registry = measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache, Elected: make(chan struct{})})
	if n := count(); n != 0 {
		t.Errorf("%d series from one that does not lead", n)
	}
}

func TestEventCountersStartAtZeroAndAreDroppedWithTheirCloudProject(t *testing.T) {
	mine, other := projectNamed("calyptia"), projectNamed("other")
	cache := &shelf{projects: []v1alpha1.CloudProject{mine, other}}
	m, registry := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache})
	series := func() map[string]float64 {
		found := map[string]float64{}
		for range 2 { // What is begun by a scrape may be seen by the next one only.
			families, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, family := range families {
				for _, metric := range family.Metric {
					found[metric.Label[0].GetValue()+" "+metric.Label[1].GetValue()] = metric.GetCounter().GetValue()
				}
			}
		}
		return found
	}
	before := series()
	for _, key := range []string{"logs/calyptia Orphaned", "logs/other Reregistered", "none Orphaned"} {
		if value, there := before[key]; !there || value != 0 {
			t.Errorf("%q begins with %v, %v", key, value, there)
		}
	}
	m.Happened(t.Context(), &mine, "web", "Orphaned")
	m.Happened(t.Context(), nil, "web", "Orphaned")
	after := series()
	if after["logs/calyptia Orphaned"] != 1 || after["none Orphaned"] != 1 {
		t.Errorf("events are not counted: %v", after)
	}
	cache.projects = cache.projects[1:]
	m.Happened(t.Context(), &mine, "web", "Deleted")
	registry.Unregister(m.events) // Gathered first, it would still show what the other drops.
	series()
	registry.MustRegister(m.events)
	for key := range series() {
		if strings.HasPrefix(key, "logs/calyptia") {
			t.Errorf("%q outlives its CloudProject", key)
		}
	}
}

// A scrape is one pass over the cache: it must be fast with ten thousand Agents that each have their own series.
func TestAScrapeOfTenThousandAgentsIsCheap(t *testing.T) {
	cache := &shelf{projects: []v1alpha1.CloudProject{projectNamed("calyptia")}}
	for i := range 10_000 {
		cache.agents = append(cache.agents, reported(fmt.Sprintf("agent-%d", i), "healthy", 1_700_000_000))
	}
	m, _ := measure(t, AgentsOptions{ProjectOf: refersTo, Reader: cache, Each: true})
	best := time.Hour // Of some, because others use this machine, too.
	for range 5 {
		out := make(chan prometheus.Metric, 40_000)
		began := time.Now()
		m.compute(t.Context(), func(desc *prometheus.Desc, value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
		})
		best = min(best, time.Since(began))
		if len(out) < 30_000 {
			t.Fatalf("%d series", len(out))
		}
	}
	if best > 500*time.Millisecond {
		t.Errorf("a scrape takes %s", best)
	}
	t.Logf("%s", best)
}
