/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package e2e_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
)

// needPods are the commands of the pages that need a cluster with pods. test/docs runs the others.
var needPods = []struct {
	command *regexp.Regexp
	says    string
	count   int // minimum number
}{
	{command: regexp.MustCompile(`^helm install .* clusterID=`), says: "STATUS: deployed", count: 1},
	{command: regexp.MustCompile(`^helm test .* --namespace`), says: "Succeeded", count: 1},
	{command: regexp.MustCompile(`\blogs --selector.*--previous`), says: "", count: 1},
	{command: regexp.MustCompile(`\blogs --selector.*\| grep .*not watched`), says: "", count: 1},
	{command: regexp.MustCompile(`\blogs --selector.*\| grep DriftCorrected`), says: "DriftCorrected", count: 1},
	{command: regexp.MustCompile(`\blogs --selector.*\| grep web-logs`), says: "web-logs", count: 1},
	{command: regexp.MustCompile(`\blogs --selector`), says: `"msg":"Starting"`, count: 4},
	{command: regexp.MustCompile(`--for=condition=Reporting`), says: "condition met", count: 1},
}

// Every command of the pages that needs pods is run exactly as written.
func TestTheCommandsOfThePagesThatNeedPods(t *testing.T) {
	// The pages install it themselves.
	install(t) // the CRDs
	w := newTeam(t, byAddress)
	uninstall(t)
	typist := w.typist()
	typed := map[string]bool{}
	for _, row := range needPods {
		for _, command := range documented(t, row.command) {
			row.count--
			if typed[command] {
				continue
			}
			typed[command] = true
			if strings.Contains(command, "Reporting") {
				w.applySample()
			}
			out, err := typist(command)
			if err != nil && row.says != "" || !strings.Contains(out, row.says) {
				diagnose(t)
				t.Fatalf("%s\n%v\n%.2000s", command, err, out)
			}
			if strings.HasPrefix(command, "helm install") {
				// The URL of the page is the real one.
				install(t, "clusterID=kept", "allowedHosts={"+here.cloud.listener.Addr().String()+"}")
				w.drifts("web-logs")
			}
		}
		if row.count > 0 {
			t.Errorf("%d too few commands match %s", row.count, row.command)
		}
	}
	t.Run("on any machine", func(t *testing.T) { w.onAnyMachine(t, typist) })
	w.leave()
}

// drifts has the operator register an agent, and correct an external change of it.
func (w *team) drifts(name string) {
	w.Helper()
	w.declare(name)
	eventually(w, "it is not registered", func(ctx context.Context) error { return w.isReady(ctx, name) })
	id := here.cloud.Agents(w.projectID)[0].ID
	here.cloud.Mutate(id, func(a *cloud.Agent) { a.Version = "v9.9.9" })
	w.look(name)
	eventually(w, "the version is not corrected", func(context.Context) error {
		if a, _ := here.cloud.Agent(id); a.Version == "v9.9.9" {
			return errors.New("it is " + a.Version)
		}
		return nil
	})
}

// documented are the matching commands of the pages, without indentation and in one line each.
func documented(t testing.TB, pattern *regexp.Regexp) (all []string) {
	t.Helper()
	root := testenv.ModuleRoot()
	pages := must(filepath.Glob(filepath.Join(root, "docs", "*.md")))(t)
	for _, page := range append(pages, filepath.Join(root, "README.md"), filepath.Join(root, "charts", operator, "README.md")) {
		text := string(must(os.ReadFile(page))(t))
		text = regexp.MustCompile(`\\\n\s*`).ReplaceAllString(text, "")
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "`") { // a command within a sentence
				line, _, _ = strings.Cut(line[1:], "`")
			}
			if pattern.MatchString(line) {
				all = append(all, line)
			}
		}
	}
	return all
}

// typist runs commands in a directory with the files of the pages, as a user who works in the team's namespace.
func (w *team) typist() func(command string) (string, error) {
	w.Helper()
	dir := w.TempDir()
	for _, name := range []string{"charts", "config"} {
		if err := os.Symlink(filepath.Join(testenv.ModuleRoot(), name), filepath.Join(dir, name)); err != nil {
			w.Fatal(err)
		}
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	content := must(os.ReadFile(here.kubeconfig))(w)
	if err := errors.Join(
		os.WriteFile(kubeconfig, content, 0o600),
		os.WriteFile(filepath.Join(dir, "calyptia-cluster-id"), []byte("kept"), 0o600),
		os.WriteFile(filepath.Join(dir, "ca.crt"), here.cloud.ca, 0o600),
		os.Mkdir(filepath.Join(dir, "bin"), 0o755),
		os.Symlink(filepath.Join(here.work, "fluentbit"), filepath.Join(dir, "bin", "fluent-bit")),
	); err != nil {
		w.Fatal(err)
	}
	execute := func(command string) (string, error) {
		c := exec.CommandContext(w.Context(), "bash", "-euo", "pipefail", "-c", command)
		c.Dir = dir
		c.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+here.work, "TAG="+operatorTag,
			"IMAGE="+repository(), "SSL_CERT_FILE="+filepath.Join(dir, "ca.crt"),
			"PATH="+strings.Join([]string{filepath.Join(dir, "bin"), filepath.Dir(here.kubectl), filepath.Dir(here.helm), os.Getenv("PATH")}, ":"))
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if out, err := execute("kubectl config set-context --current --namespace " + w.namespace); err != nil {
		w.Fatal(out)
	}
	return execute
}

// onAnyMachine runs a Fluent Bit outside of the cluster, with the blocks of the page.
func (w *team) onAnyMachine(t *testing.T, typist func(string) (string, error)) {
	page := string(must(os.ReadFile(filepath.Join(testenv.ModuleRoot(), "docs", "fluent-bit.md")))(t))
	_, page, _ = strings.Cut(page, "## On any machine")
	page, _, _ = strings.Cut(page, "\n## ")
	var blocks []string
	for _, match := range regexp.MustCompile(`(?m)(?:^    .*\n?)+`).FindAllString(page, -1) {
		blocks = append(blocks, regexp.MustCompile(`(?m)^    `).ReplaceAllString(match, ""))
	}
	if len(blocks) != 3 || !strings.HasPrefix(blocks[1], "@INCLUDE") {
		t.Fatalf("the page has the blocks %q", blocks)
	}
	const stop = "kubectl scale deployment aggregator --replicas=0 && " +
		"kubectl wait --for=delete pod --selector app.kubernetes.io/name=aggregator"
	if out, err := typist(stop); err != nil {
		t.Fatal(out)
	}
	id := w.aggregator(t.Context()).Status.ID
	before, _ := here.cloud.Agent(id)
	script := blocks[0] + "cat >fluent-bit/fluent-bit.conf <<'END'\n" + blocks[1] + "END\n" +
		strings.Replace(blocks[2], "fluent-bit -c", "timeout --preserve-status 5 fluent-bit -c", 1)
	out, err := typist(script)
	for _, want := range []string{"session setup OK", "known agent registration successful"} {
		if err != nil || !strings.Contains(out, want) {
			t.Fatalf("%v, and it prints\n%s", err, out)
		}
	}
	if after, _ := here.cloud.Agent(id); after.MetricsCount <= before.MetricsCount {
		t.Errorf("the remote agent had %d metrics and has %d", before.MetricsCount, after.MetricsCount)
	}
}
