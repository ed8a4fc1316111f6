/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package observe_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// family is a metric: its type, and the labels of its series.
type family struct {
	kind   string
	labels sets.Set[string]
}

// exposed are the metrics of the real binary after a life that produces all of them.
var exposed = struct {
	once sync.Once
	all  map[string]family
	body string
}{}

// expose runs that life once for all tests.
func expose(t *testing.T) (map[string]family, string) {
	t.Helper()
	exposed.once.Do(func() {
		body := live(t)
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		all := map[string]family{}
		for name, f := range families {
			all[name] = family{kind: strings.ToLower(f.GetType().String()), labels: labelsOf(f)}
		}
		exposed.all, exposed.body = all, body
	})
	if exposed.all == nil {
		t.Fatal("the life that shows all metrics failed")
	}
	return exposed.all, exposed.body
}

func labelsOf(f *dto.MetricFamily) sets.Set[string] {
	labels := sets.New[string]()
	for _, metric := range f.Metric {
		for _, label := range metric.Label {
			labels.Insert(label.GetName())
		}
	}
	return labels
}

// live registers one agent that reports, and one of an AgentSet, and has one deletion hang.
func live(t *testing.T) string {
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	certificates := t.TempDir()
	certify(t, certificates)
	c := launch(w, harness.Plane().Kubeconfig, "--metrics-cert-path="+certificates,
		"--leader-elect", "--leader-election-namespace="+w.Namespace)
	token := reader(w, "prometheus", true)
	w.Ready(w.Apply("web"))
	w.Cloud.Mutate(w.Remote()[0].ID, func(a *cloud.Agent) {
		now := time.Now()
		a.Status, a.FirstMetricsAddedAt, a.LastMetricsAddedAt = "healthy", &now, &now
	})
	w.Poke("web")
	w.Becomes("web", v1alpha1.ConditionReporting, "True", v1alpha1.ReasonMetricsReceived)
	w.Nodes("a")
	w.AgentSet("logs", w.DaemonSet("fluent-bit"))
	w.SetReady("logs", 1)
	w.Ready(w.Apply("leaving"))
	w.Cloud.Inject(cloudtest.Fault{Method: http.MethodDelete, Status: http.StatusInternalServerError, Body: `{"error":"internal"}`})
	w.Delete("leaving")
	var body string
	w.Eventually("the metrics have the deletion that hangs", func() (err error) {
		var status int
		if status, body, err = c.scrape(token, nil); err != nil || status != http.StatusOK {
			return fmt.Errorf("%d, %w", status, err)
		}
		if !strings.Contains(body, "\ncalyptia_agents_deletion_oldest_timestamp_seconds{") {
			return fmt.Errorf("it is not")
		}
		return nil
	})
	for _, remote := range w.Remote() {
		if strings.Contains(body, remote.Token.Reveal()) || strings.Contains(body, remote.ID) {
			t.Error("the metrics contain the ID or the token of a remote agent")
		}
	}
	if strings.Contains(body, w.Token.Reveal()) {
		t.Error("the metrics contain the project token")
	}
	return body
}

// document reads a page of docs/.
func document(t *testing.T, name string) string {
	t.Helper()
	return file(t, "docs", name)
}

func file(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{testenv.ModuleRoot()}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// row is a row of the table of metrics: name, type, labels.
var row = regexp.MustCompile("(?m)^\\| `(calyptia_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\| [^|]+ \\|$")

// documented are the metrics of docs/metrics.md.
func documented(t *testing.T) map[string]family {
	t.Helper()
	all := map[string]family{}
	for _, match := range row.FindAllStringSubmatch(document(t, "metrics.md"), -1) {
		labels := sets.New[string]()
		for label := range strings.SplitSeq(match[3], ",") {
			labels.Insert(strings.Trim(label, " `"))
		}
		all[match[1]] = family{kind: match[2], labels: labels}
	}
	return all
}

func TestTheTableOfMetricsIsWhatTheOperatorExposes(t *testing.T) {
	t.Parallel()
	all, _ := expose(t)
	got := maps.Clone(all)
	maps.DeleteFunc(got, func(name string, _ family) bool { return !strings.HasPrefix(name, "calyptia_") })
	if diff := cmp.Diff(documented(t), got, cmp.AllowUnexported(family{})); diff != "" {
		t.Errorf("docs/metrics.md and the operator differ (-documented +exposed):\n%s", diff)
	}
}

// libraries is the sentence that names the metrics of libraries.
var libraries = regexp.MustCompile("`([a-z_]+_)\\*`")

func TestTheMetricsOfLibrariesAreNamed(t *testing.T) {
	t.Parallel()
	all, _ := expose(t)
	unused := sets.New[string]()
	for _, match := range libraries.FindAllStringSubmatch(document(t, "metrics.md"), -1) {
		unused.Insert(match[1])
	}
	prefixes := sets.List(unused)
	for name := range all {
		i := slices.IndexFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		switch {
		case i >= 0:
			unused.Delete(prefixes[i])
		case !strings.HasPrefix(name, "calyptia_"):
			t.Errorf("%s is of none of %v", name, prefixes)
		}
	}
	if len(unused) > 0 {
		t.Errorf("nothing is called %v", sets.List(unused))
	}
}

func TestSeriesPerAgentCanBeTurnedOff(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{}, harness.Idle)
	c := launch(w, harness.Plane().Kubeconfig, "--agent-metrics=false")
	token := reader(w, "prometheus", true)
	w.Ready(w.Apply("web"))
	w.Eventually("the Agent is counted", func() error {
		_, body, err := c.scrape(token, nil)
		if err != nil || !strings.Contains(body, "\ncalyptia_agents{") {
			return fmt.Errorf("it is not: %w", err)
		}
		if strings.Contains(body, `agent="`) {
			t.Fatal("there are series of a single Agent")
		}
		return nil
	})
}
