/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// ranElsewhere are the pages whose commands the test below leaves alone.
var ranElsewhere = map[string]string{
	"docs/getting-started.md":                  "TestGettingStartedWordForWord runs it",
	"docs/reference/flags.md":                  "generated; its commands are the operator's own",
	"charts/calyptia-agent-operator/README.md": "the tests of the charts run it with helm",
}

// notHere are the commands that the test below does not run, and why.
var notHere = []struct {
	command *regexp.Regexp
	why     string
	found   int
}{
	{command: regexp.MustCompile(`^(IMAGE=|TAG=|docker |helm )`), why: "needs Docker, a registry, or the chart, whose own tests run helm"},
	{command: regexp.MustCompile(`^make `), why: "TestEveryMakeTargetExists; they build, test and run for minutes"},
	{command: regexp.MustCompile(`\blogs --selector`), why: "needs pods"},
	{command: regexp.MustCompile(`--for=condition=Reporting|^fluent-bit -c`), why: "needs a Fluent Bit"},
	{command: regexp.MustCompile(`^kubectl delete (applications|helmreleases)`), why: "waits for Argo CD or Flux itself"},
	{command: regexp.MustCompile(`docs/gitops/agents|legacy-logs|kubectl wait (--for=delete )?\S+ --all`), why: "TestGitOpsWordForWord runs it"},
	{command: regexp.MustCompile(`^bin/calyptia-agent-operator import`), why: "reads the public service; the tests of import run it"},
	{command: regexp.MustCompile(`^kubectl delete (agents\S+ --all|crd|deployment,service)`), why: "would take what other tests have"},
	{command: regexp.MustCompile(`^read -rs`), why: "waits for somebody to type"},
	{command: regexp.MustCompile(`^kubectl create -f calyptia-`), why: "what is restored is there"},
	{command: regexp.MustCompile(`^kubectl label namespace`), why: "its namespace is not there"},
	{command: regexp.MustCompile(`while read|finalizers`), why: "TestTheWayOutWhenTheOperatorWentFirst runs it"},
	{command: regexp.MustCompile(`^sum by|^@INCLUDE`), why: "no command"},
}

// commands are those of a block, one by one.
func commands(text string) (all []string) {
	if strings.Contains(text, "while read") || strings.HasPrefix(text, "@INCLUDE") {
		return []string{text}
	}
	for line := range strings.Lines(regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

func left(command string) bool {
	for i := range notHere {
		if notHere[i].command.MatchString(command) {
			notHere[i].found++
			return true
		}
	}
	return false
}

// said is what commands have to find in what prepared makes.
var said = map[string]string{
	"kubectl events --for agent/web-logs": "DriftCorrected",
	"reason=DriftCorrected":               "web-logs",
	"MetricsStopped":                      "/silent ",
	"@.status.drift":                      `/drifted ["version"]`,
	"@.metadata.deletionTimestamp":        "/held ",
	"{.spec.tokenSecretRef}":              `"name"`,
	"{.status.url}":                       "http://127.0.0.1:",
	"{.spec.rateLimit}":                   "10m",
	"| grep -v ' True '":                  "lonely",
	"argocd-cm":                           "patched",
	"docs/gitops/argocd/operator.yaml":    "application.argoproj.io/calyptia-agents created",
	"get leases":                          "calyptia-agent-operator.cloud.calyptia.com",
}

// prepared is a shell in a namespace that has what the pages speak of.
func prepared(t *testing.T) *shell {
	t.Helper()
	w := harness.New(t, cloudtest.Settings{})
	s := &shell{World: w, dir: t.TempDir(), namespace: w.Namespace}
	for _, part := range []string{"config", "docs"} {
		if err := os.Symlink(filepath.Join(testenv.ModuleRoot(), part), filepath.Join(s.dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	s.run("Argo CD", "(kubectl get namespace argocd || kubectl create namespace argocd) && kubectl create configmap argocd-cm --namespace argocd")
	// The operator itself is there as far as it can be without pods.
	s.run("the operator", `kubectl create namespace calyptia-agent-operator-system
		kubectl config set-context --current --namespace calyptia-agent-operator-system
		kubectl create deployment calyptia-agent-operator --image=none --replicas=0
		printf '%s\n' 'apiVersion: coordination.k8s.io/v1' 'kind: Lease' 'metadata: {name: calyptia-agent-operator.cloud.calyptia.com}' |
			kubectl apply -f -`)
	for name, change := range map[string]func(*v1alpha1.Agent){
		"web-logs": func(*v1alpha1.Agent) {},
		"silent":   func(*v1alpha1.Agent) {},
		"drifted":  func(a *v1alpha1.Agent) { a.Spec.SyncPolicy = v1alpha1.SyncOnChange },
		"held":     func(a *v1alpha1.Agent) { a.Finalizers = []string{"docs.test/held"} },
	} {
		id := w.Ready(w.Apply(name, change)).Status.ID
		w.Cloud.Mutate(id, func(a *cloud.Agent) {
			switch name {
			case "silent":
				hour := time.Now().Add(-time.Hour)
				a.Status, a.FirstMetricsAddedAt, a.LastMetricsAddedAt = "unhealthy", &hour, &hour
			default:
				a.Version = "v9.9.9"
			}
		})
		w.Poke(name)
	}
	w.Eventually("silent is silent, and drifted has drifted", func() error {
		reporting := harness.Condition(w.Get("silent"), v1alpha1.ConditionReporting)
		if reporting.Reason != v1alpha1.ReasonMetricsStopped || len(w.Get("drifted").Status.Drift) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	w.Events("web-logs", 2)
	w.Apply("lonely", func(a *v1alpha1.Agent) { a.Spec.ProjectRef = &v1alpha1.CloudProjectReference{Name: "nobody"} })
	w.NotReady("lonely", v1alpha1.ReasonProjectNotFound)
	w.Delete("held")
	t.Cleanup(func() { w.Change("held", func(a *v1alpha1.Agent) { a.Finalizers = nil }) })
	s.run("the sample", "kubectl apply -k config/samples/fluent-bit && kubectl wait agent aggregator --for=condition=Ready --timeout=45s")
	return s
}

// Every command of every page is run, or left for a reason that is given above.
func TestEveryCommandOfThePages(t *testing.T) {
	s, ran, found := prepared(t), 0, map[string]int{}
	for _, p := range pages(t) {
		if ranElsewhere[p.path] != "" {
			continue
		}
		seen := map[string]bool{}
		for _, b := range p.blocks() {
			if b.lang != "" && b.lang != "sh" {
				continue
			}
			if example, shows := strings.CutPrefix(b.text, "$ "); shows {
				s.shows(b.at, example)
				continue
			}
			for _, command := range commands(b.text) {
				if left(command) || seen[command] {
					continue
				}
				ran++
				seen[command] = true // A second restart within a second is refused.
				out := s.run(b.at, command)
				for part, words := range said {
					if !strings.Contains(command, part) {
						continue
					}
					if found[part]++; !strings.Contains(out, words) {
						t.Errorf("%s: %s\ndoes not say %q, but:\n%s", b.at, command, words, out)
					}
				}
			}
		}
		// Each page begins anew.
		s.run("annotations", `kubectl annotate agents --all cloud.calyptia.com/orphan-
			kubectl annotate cloudproject calyptia cloud.calyptia.com/orphan-agents-`)
	}
	if ran < 50 {
		t.Errorf("only %d commands were run", ran)
	}
	for part := range said {
		if found[part] == 0 {
			t.Errorf("no command has %q", part)
		}
	}
	for _, row := range notHere {
		if row.found == 0 {
			t.Errorf("no command is left because of %s", row.command)
		}
	}
}

// shows checks an example of a command and what it prints, by the head of the table.
func (s *shell) shows(at, example string) {
	s.Helper()
	command, printed, _ := strings.Cut(example, "\n")
	want, _, _ := strings.Cut(printed, "\n")
	got, _, _ := strings.Cut(s.run(at, command), "\n")
	if !slices.Equal(strings.Fields(got), strings.Fields(want)) {
		s.Errorf("%s: %s prints %q, not %q", at, command, got, want)
	}
}
