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

// ranElsewhere are the pages whose blocks another test runs.
var ranElsewhere = map[string]string{
	"docs/getting-started.md":                  "TestGettingStartedWordForWord types it",
	"docs/reference/flags.md":                  "generated; its commands are the operator's own",
	"charts/calyptia-agent-operator/README.md": "TestInstallUpgradeUninstall and TestTheOperatorIsUninstalledFirst type its blocks, by their names",
}

// notHere are the commands that the test below does not run, and why. It still checks that their subcommands and flags
// exist. A test that a reason names has to exist.
var notHere = []struct {
	command *regexp.Regexp
	why     string
	same    bool // only if a page of ranElsewhere has the same command
	found   int
}{
	{command: regexp.MustCompile(`^helm (install|uninstall) calyptia|^kubectl delete crd`), same: true, why: "a page of ranElsewhere has it"},
	{command: regexp.MustCompile(`^helm (install|uninstall) agents`), why: "TestTheSecondWayOfTheReadme types it"},
	{command: regexp.MustCompile(`^helm install .* clusterID=`), why: "needs an image; TestTheCommandsOfThePagesThatNeedPods types it"},
	{command: regexp.MustCompile(`^helm upgrade calyptia`), why: "TestGettingStartedWordForWord types it"},
	{command: regexp.MustCompile(`^helm test`), why: "needs pods; TestTheCommandsOfThePagesThatNeedPods types it"},
	{command: regexp.MustCompile(`^helm (repo add|install aggregator) fluent`), why: "somebody else's chart, from the network; " +
		"TestTheFluentBitSamplePassesRestrictedPodSecurity takes its values"},
	{command: regexp.MustCompile(`^make release|^git (tag|push)|^cosign |^sha256sum `), why: "needs the credentials of a maintainer, or a release; " +
		".ci/run makes a dry run"},
	{command: regexp.MustCompile(`^(IMAGE=|TAG=|make push)`), why: "needs a registry; TestTheImage pushes to one"},
	{command: regexp.MustCompile(`^make (install|run|uninstall)`), why: "TestTheSecondWayOfTheReadme types it"},
	{command: regexp.MustCompile(`^make (build|charts|crds|demo|docs|e2e|generate|image|lint|test|unit|verify)`), why: ".ci/run does it, which takes an hour"},
	{command: regexp.MustCompile(`^make (bench|bench-go|torture|churn|moves)\b`), why: "measures for minutes, and nobody waits for it"},
	{command: regexp.MustCompile(`\blogs --selector`), why: "needs pods; TestTheCommandsOfThePagesThatNeedPods types it"},
	{command: regexp.MustCompile(`--for=condition=Reporting|^fluent-bit -c`), why: "needs a Fluent Bit; TestTheCommandsOfThePagesThatNeedPods types it"},
	{command: regexp.MustCompile(`^kubectl delete (applications|helmreleases)`), why: "waits for Argo CD or Flux itself"},
	{command: regexp.MustCompile(`docs/gitops/agents|legacy-logs|kubectl wait cloudprojects\S+ --all`), why: "TestGitOpsWordForWord types it"},
	{command: regexp.MustCompile(`^bin/calyptia-agent-operator import|^kubectl apply .* agents.yaml`), why: "TestImportWordForWord types it"},
	{command: regexp.MustCompile(`^kubectl create secret generic calyptia-project-token --from-literal|^kubectl apply -f agent.yaml$`),
		why: "TestTheSecondWayOfTheReadme types it"},
	{command: regexp.MustCompile(`^kubectl (delete|wait( --for=delete)?) agents\S+ --all`), why: "would take what other tests have, " +
		"or wait for it; TestTheSecondWayOfTheReadme types it"},
	{command: regexp.MustCompile(`\bagentsets? |agentset=|fluent-bit-daemonset|name=fluent-bit|^helm install fluent-bit`), why: "needs nodes; " +
		"TestTheDaemonSetSample has them"},
	{command: regexp.MustCompile(`^read -rs`), why: "waits for somebody to type; the shell of the test has the token"},
	{command: regexp.MustCompile(`^docker `), why: "needs Docker"},
	{command: regexp.MustCompile(`^kubectl create -f calyptia-`), why: "what is restored is there; TestTheSecondWayOfTheReadme types it"},
	{command: regexp.MustCompile(`^kubectl delete deployment,service`), why: "the page goes on with what it takes away"},
	{command: regexp.MustCompile(`while read|finalizers`), why: "TestTheWayOutWhenTheOperatorWentFirst types it"},
	{command: regexp.MustCompile(`^sum by|^@INCLUDE`), why: "no command, but a query and a configuration"},
}

// commands are the single commands of a block.
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

// left reports whether another test runs a command, given the commands that run elsewhere.
func left(command string, elsewhere map[string]bool) bool {
	for i := range notHere {
		if notHere[i].command.MatchString(command) && (!notHere[i].same || elsewhere[command]) {
			notHere[i].found++
			return true
		}
	}
	return false
}

// said is what commands have to print, given the objects of prepared.
var said = map[string]string{
	"kubectl events --for agent/web-logs": "DriftCorrected",
	"reason=DriftCorrected":               "web-logs",
	"MetricsStopped":                      "/silent ",
	"calyptia-agent-operator status":      "/lonely ",
	"kubectl calyptia status":             "NEEDS ATTENTION",
	"@.status.driftedFields":              `/drifted ["version"]`,
	"@.metadata.deletionTimestamp":        "/held ",
	"{.spec.tokenSecretRef}":              `"name"`,
	"{.status.url}":                       "http://127.0.0.1:",
	"{.spec.rateLimit}":                   "10m",
	"| grep -v ' True '":                  "lonely",
	"argocd-cm":                           "patched",
	"docs/gitops/argocd/operator.yaml":    "application.argoproj.io/calyptia-agents created",
	"get leases":                          "calyptia-agent-operator.cloud.calyptia.com",
}

// prepared is a shell in a namespace with the objects that the pages mention.
func prepared(t *testing.T) *shell {
	t.Helper()
	w := harness.New(t, cloudtest.Settings{})
	s := &shell{World: w, dir: t.TempDir(), namespace: w.Namespace}
	s.env = []string{"PATH=" + strings.Join([]string{filepath.Dir(must(operatorPath())(t)), filepath.Dir(must(helmPath())(t)),
		must(testenv.Assets())(t), os.Getenv("PATH")}, ":"), "IMAGE=registry.example.com/calyptia-agent-operator", "TAG=test"}
	if err := os.Symlink(must(operatorPath())(t), filepath.Join(work, "kubectl-calyptia")); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"charts", "config", "docs", "Makefile"} {
		if err := os.Symlink(filepath.Join(testenv.ModuleRoot(), part), filepath.Join(s.dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	s.run("a team", "kubectl get namespace payments || kubectl create namespace payments")
	s.run("Argo CD", "(kubectl get namespace argocd || kubectl create namespace argocd) && kubectl create configmap argocd-cm --namespace argocd")
	// The objects of the operator, as far as they exist without pods.
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
		if reporting.Reason != v1alpha1.ReasonMetricsStopped || len(w.Get("drifted").Status.DriftedFields) == 0 {
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

// typist runs the commands of the pages, or checks those that other tests run.
type typist struct {
	*shell
	reader    *reader
	elsewhere map[string]bool // the commands of ranElsewhere
	seen      map[string]bool // on this page
	found     map[string]int  // of said
	ran       int
}

// Every command of every page runs, or is checked without running for a reason above.
func TestEveryCommandOfThePages(t *testing.T) {
	w := &typist{shell: prepared(t), reader: newReader(t), elsewhere: map[string]bool{}, found: map[string]int{}}
	all := pages(t)
	for _, p := range all {
		if ranElsewhere[p.path] != "" {
			for _, b := range p.shell() {
				for _, command := range commands(b.text) {
					w.elsewhere[command] = true
				}
			}
		}
	}
	for _, p := range all {
		w.page(p)
	}
	if w.ran < 50 {
		t.Errorf("only %d commands were run", w.ran)
	}
	for part := range said {
		if w.found[part] == 0 {
			t.Errorf("no command has %q", part)
		}
	}
	for _, row := range notHere {
		if row.found == 0 {
			t.Errorf("no command is left because of %s", row.command)
		}
	}
}

// shell are the blocks with commands.
func (p *page) shell() []block {
	return slices.DeleteFunc(p.blocks(), func(b block) bool { return b.lang != "" && b.lang != "sh" })
}

// page runs the commands of a page, and restores the namespace afterwards.
func (w *typist) page(p *page) {
	w.Helper()
	w.seen = map[string]bool{}
	for _, b := range p.shell() {
		example, shows := strings.CutPrefix(b.text, "$ ")
		switch {
		case shows:
			w.shows(b.at, example)
		case ranElsewhere[p.path] == "":
			for _, command := range commands(b.text) {
				w.types(b.at, command)
			}
		}
	}
	for _, span := range p.spans(p.tree) {
		switch {
		case !inline.MatchString(span.text):
		case incomplete.MatchString(span.text):
			w.reads(span.at, span.text)
		default:
			w.types(span.at, span.text)
		}
	}
	w.run("annotations", `kubectl annotate agents --all cloud.calyptia.com/orphan-
		kubectl annotate cloudproject calyptia cloud.calyptia.com/orphan-agents-`)
}

var (
	// inline is inline code that is a command.
	inline = regexp.MustCompile(`^` + programs)
	// incomplete are commands that nobody types as they are: only a subcommand with flags, or a command with a
	// placeholder.
	incomplete = regexp.MustCompile(`^(kubectl|helm) [a-z]+( --?[a-z-]+)*$|…|\.\.\.|<[a-z]|[ =/][A-Z]{2,}( |/|$)`)
)

// types runs a command, once for each page (a second restart within a second is rejected), or checks it.
func (w *typist) types(at, command string) {
	w.Helper()
	if left(command, w.elsewhere) {
		w.reads(at, command)
		return
	}
	if w.seen[command] {
		return
	}
	w.ran++
	w.seen[command] = true
	out := w.run(at, command)
	for part, words := range said {
		if !strings.Contains(command, part) {
			continue
		}
		if w.found[part]++; !strings.Contains(out, words) {
			w.Errorf("%s: %s\ndoes not say %q, but:\n%s", at, command, words, out)
		}
	}
}

func (w *typist) reads(at, command string) {
	w.Helper()
	if err := w.reader.understood(command); err != nil {
		w.Errorf("%s: %s: %v", at, command, err)
	}
}

// shows checks an example of a command and its output, by the head of the table.
func (s *shell) shows(at, example string) {
	s.Helper()
	command, printed, _ := strings.Cut(example, "\n")
	want, _, _ := strings.Cut(printed, "\n")
	got, _, _ := strings.Cut(s.run(at, command), "\n")
	if !slices.Equal(strings.Fields(got), strings.Fields(want)) {
		s.Errorf("%s: %s prints %q, not %q", at, command, got, want)
	}
}

// A test that a reason names has to exist.
func TestTheReasonsNameTestsThatThereAre(t *testing.T) {
	tests := map[string]bool{}
	for _, dir := range []string{"test", "hack"} {
		for _, path := range filesUnder(t, dir, "_test.go") {
			for _, match := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(string(read(t, path)), -1) {
				tests[match[1]] = true
			}
		}
	}
	var reasons []string
	for _, why := range ranElsewhere {
		reasons = append(reasons, why)
	}
	for _, why := range unserved {
		reasons = append(reasons, why)
	}
	for _, row := range notHere {
		reasons = append(reasons, row.why)
	}
	checked := 0
	for _, why := range reasons {
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(why, -1) {
			if checked++; !tests[name] {
				t.Errorf("there is no %s", name)
			}
		}
	}
	if checked < 5 {
		t.Errorf("only %d tests are named", checked)
	}
	var typed strings.Builder
	for _, path := range filesUnder(t, "test/charts", "_test.go") {
		typed.Write(read(t, path))
	}
	const chart = "charts/" + operatorChart + "/README.md"
	for _, match := range regexp.MustCompile("(?m)^```sh ?(.*)$").FindAllStringSubmatch(string(read(t, chart)), -1) {
		if name := match[1]; name == "" || !strings.Contains(typed.String(), `"`+name+`"`) {
			t.Errorf("%s: no test of the charts types the block %q", chart, name)
		}
	}
}

func TestWhichInlineCommandsAreWhole(t *testing.T) {
	for command, want := range map[string]bool{
		"kubectl wait": false, "helm install --wait": false, "kubectl apply -n NAMESPACE -f agents.yaml": false,
		"kubectl delete agent …": false, "kubectl describe agent <name>": false,
		"make run ARGS=--help": true, `kubectl get secret x -o jsonpath='{.data.session\.CALYPTIA}'`: true, "kubectl get agent NAME": false,
		"kubectl get agents": true, "kubectl get agents -o wide": true, "make demo": true, "helm test calyptia-agent-operator": true,
	} {
		if got := inline.MatchString(command) && !incomplete.MatchString(command); got != want {
			t.Errorf("%s: %v", command, got)
		}
	}
}
