/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/internal/testenv"
	"github.com/calyptia-agent-operator/operator/internal/testenv/process"
	"github.com/calyptia-agent-operator/operator/test/harness"
	"github.com/calyptia-agent-operator/operator/test/harness/objects"
)

const (
	readme       = "README.md"
	contributing = "docs/contributing.md"
	gitopsPage   = "docs/gitops/README.md"
	agentsReadme = "charts/calyptia-agents/README.md"
	crdNames     = "kubectl get crd --output=name"
	// deleteAll is the command on the page and in the message of the Makefile.
	deleteAll = "kubectl delete agentsets.cloud.calyptia.com,agents.cloud.calyptia.com,cloudprojects.cloud.calyptia.com --all --all-namespaces"
)

// TestTheSecondWayOfTheReadme types how the operator runs without an image, and is removed again. In between it types
// what would affect other tests: a backup and its restoration, and the chart of the agents. These commands, and those
// that create and delete the CRDs, need a separate control plane.
func TestTheSecondWayOfTheReadme(t *testing.T) {
	s, manifest := secondWay(t)
	install := commands(s.block(contributing, "make install").text)
	if len(install) != 2 || !strings.HasPrefix(install[1], "make run ") {
		t.Fatalf("it is installed by %q", install)
	}
	s.run(contributing, install[0])
	s.run("the CRDs", "kubectl wait crd --all --for=condition=Established --timeout=30s")
	help := s.span(contributing, `^make run ARGS=--help$`)
	if out := s.run(contributing, help); !strings.Contains(out, "--allowed-hosts") {
		t.Errorf("%s does not show the flags:\n%s", help, out)
	}
	operator := s.starts(install[1])

	remove := commands(s.block(contributing, "make uninstall").text)
	if len(remove) != 2 || remove[0] != deleteAll {
		t.Fatalf("it is removed by %q", remove)
	}
	ready := s.line(gitopsPage, `kubectl wait cloudprojects.* --all .*=Ready.*`)
	s.run(readme, manifest)
	s.run(gitopsPage, ready)
	s.refused(remove[1])
	s.refused("make undeploy")
	s.restores(ready)
	s.run(contributing, remove[0])

	// Again with the chart of the agents, and with a deletion that does not wait.
	s.chart()
	s.run(readme, manifest)
	s.run(gitopsPage, ready)
	s.run(gitopsPage, remove[0]+" --wait=false\n"+s.line(gitopsPage, `kubectl wait agents.*--for=delete.*`))

	if err := syscall.Kill(-operator.Command.Process.Pid, syscall.SIGINT); err != nil { // Ctrl-C is for the whole group.
		t.Fatal(err)
	}
	select {
	case <-operator.Done():
	case <-time.After(harness.Patience):
		t.Error("the operator does not end")
	}
	s.run(contributing, remove[1])
	if left := s.run("the CRDs", crdNames); left != "" {
		t.Errorf("there are still %s", left)
	}
	s.deploys()
}

// secondWay returns a shell in the repository, for a control plane without CRDs, and the command that applies the agent
// of the README, in a project of a fake cloud.
func secondWay(t *testing.T) (s *shell, manifest string) {
	t.Helper()
	plane, err := testenv.Start(t.Context(), testenv.Options{CRDDirs: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := plane.Stop(); err != nil {
			t.Error(err)
		}
	})
	cloud := cloudtest.New(cloudtest.Settings{})
	service := cloud.Start()
	t.Cleanup(service.Close)
	dir := t.TempDir()
	s = &shell{
		World: &harness.World{Objects: objects.Objects{TB: t, Namespace: "logging"}, Token: cloud.AddProject("5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11")},
		dir:   dir, namespace: "logging", plane: plane, at: testenv.ModuleRoot(), service: service.URL,
		// make writes into a separate directory.
		env: []string{"MAKEFLAGS= -- BINARY=" + filepath.Join(dir, "operator") + " DIST=" + dir,
			"PATH=" + strings.Join([]string{filepath.Dir(must(helmPath())(t)), must(testenv.Assets())(t), os.Getenv("PATH")}, ":")},
	}
	s.run("namespace", "kubectl create namespace logging")
	secret := commands(s.block(readme, "kubectl create secret").text)
	if len(secret) != 2 || !strings.HasPrefix(secret[0], "read -rs ") {
		t.Fatalf("the token is stored by %q", secret)
	}
	s.run(readme, secret[1])
	text := s.block(readme, "kind: CloudProject").text
	if old := "  tokenSecretRef:"; strings.Count(text, old) != 1 || strings.Contains(text, "kind: Secret") {
		t.Fatalf("%q is not once, or a Secret is, in\n%s", old, text)
	}
	text = strings.Replace(text, "  tokenSecretRef:", "  url: "+service.URL+"\n  tokenSecretRef:", 1)
	if err := os.WriteFile(filepath.Join(dir, "agent.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	apply := s.line(readme, `kubectl apply -f agent\.yaml`)
	return s, strings.Replace(apply, "agent.yaml", filepath.Join(dir, "agent.yaml"), 1)
}

// starts runs the operator, with the flags that a fake cloud on loopback needs.
func (s *shell) starts(command string) *process.Child {
	s.Helper()
	probes, err := process.FreeAddress()
	if err != nil {
		s.Fatal(err)
	}
	log := filepath.Join(s.dir, "log")
	file, err := os.Create(log)
	if err != nil {
		s.Fatal(err)
	}
	run := s.command(command)
	run.Env = append(run.Env, "ARGS=--allowed-hosts=127.0.0.1 --allow-insecure-http --metrics-bind-address=0 --health-probe-bind-address="+probes)
	run.Stdout, run.Stderr = file, file
	child, err := process.Start(run, file)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		_ = syscall.Kill(-run.Process.Pid, syscall.SIGKILL)
		<-child.Done()
	})
	if err := process.WaitReady(s.Context(), probes, 2*time.Minute); err != nil { // It may have to be compiled first.
		said, _ := os.ReadFile(log)
		s.Fatalf("%s: %v\n%s", command, err, said)
	}
	return child
}

// refused checks that a command stops before it deletes the CRDs of existing objects.
func (s *shell) refused(command string) {
	s.Helper()
	before := s.run("the CRDs", crdNames)
	out, err := s.command(command).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "There are 2 Agents and CloudProjects") || !strings.Contains(string(out), deleteAll) {
		s.Errorf("%s is not refused, or not for this: %v\n%s", command, err, out)
	}
	if after := s.run("the CRDs", crdNames); after != before || before == "" {
		s.Errorf("%s left %q of the CRDs %q", command, after, before)
	}
}

// deploys installs and removes CRDs and operator by the Makefile. It works without the CRDs, and without any object,
// too.
func (s *shell) deploys() {
	s.Helper()
	const operator = "kubectl get deployment calyptia-agent-operator --namespace calyptia-agent-operator-system --ignore-not-found --output=name"
	for _, step := range []struct {
		command        string
		operator, crds bool
	}{{"make deploy IMG=registry.example.com/operator:v1", true, true}, {"make uninstall", true, false}, {"make undeploy", false, false}, {"make undeploy", false, false}} {
		s.run("Makefile", step.command)
		if out := s.run("Makefile", operator+"\n"+crdNames); strings.Contains(out, "deployment") != step.operator ||
			(strings.Count(out, "cloud.calyptia.com") == 3) != step.crds {
			s.Errorf("after %s there is %q", step.command, out)
		}
	}
}

// replicas is an AgentSet, which needs no nodes.
const replicas = `kubectl apply -f - <<'EOF'
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: aggregator}
spec:
  replicas: 2
  selector: {matchLabels: {app: aggregator}}
  template:
    metadata: {labels: {app: aggregator}}
    spec: {containers: [{name: fluent-bit, image: fluent-bit}]}
---
apiVersion: cloud.calyptia.com/v1alpha1
kind: AgentSet
metadata: {name: aggregator}
spec:
  targetRef: {kind: StatefulSet, name: aggregator}
  template: {spec: {projectRef: {name: calyptia}, type: fluentbit, version: 5.1.1, rawConfig: "pipeline: {}"}}
EOF
`

// collected waits until the garbage collector knows Agents: it learns a new kind within half a minute. Before that,
// --cascade=orphan finds no Agents, and they are deleted with their AgentSet later.
const collected = `kubectl create configmap owner
uid=$(kubectl get configmap owner --output=jsonpath='{.metadata.uid}')
kubectl apply -f - <<EOF
apiVersion: cloud.calyptia.com/v1alpha1
kind: Agent
metadata:
  name: owned
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: $uid}]
spec: {projectRef: {name: calyptia}, type: fluentbit, version: 5.1.1, rawConfig: "pipeline: {}", suspend: true}
EOF
kubectl delete configmap owner
kubectl wait agent owned --for=delete --timeout=90s`

// restores runs the backup, deletes everything except the agents in Calyptia Cloud, and runs the restoration.
func (s *shell) restores(ready string) {
	s.Helper()
	const page, ids = "docs/upgrade-uninstall.md", "kubectl get agents --output=jsonpath='{.items[*].status.id}'"
	const set = "kubectl wait agentsets --all --for=condition=Ready --timeout=60s"
	there := *s
	there.at = s.dir
	s.run("an AgentSet", replicas+set)
	s.run("the garbage collector", collected)
	before := s.run("before", ids)
	for _, words := range []string{"> calyptia-backup.yaml", "> calyptia-agent-secrets.yaml"} {
		b := s.block(page, words)
		there.run(b.at, b.text)
	}
	s.run("loss", "kubectl delete agentsets --all --cascade=orphan && kubectl annotate agents --all cloud.calyptia.com/orphan=true && "+
		"kubectl delete agents,cloudprojects --all && kubectl delete secrets --selector=cloud.calyptia.com/agent-uid && "+
		"kubectl delete secrets --selector=cloud.calyptia.com/agentset-uid")
	b := s.block(page, "kubectl create -f calyptia-backup.yaml")
	there.run(b.at, b.text)
	s.run("after", ready+"\n"+set)
	if after := s.run("after", ids); after != before || len(strings.Fields(before)) != 3 {
		s.Errorf("the agents were %q and are %q", before, after)
	}
}

// chart runs the README of the chart of the agents, with the URL of the fake cloud in the CloudProject.
func (s *shell) chart() {
	s.Helper()
	if err := os.Symlink(filepath.Join(testenv.ModuleRoot(), "charts"), filepath.Join(s.dir, "charts")); err != nil {
		s.Fatal(err)
	}
	values := strings.Replace(s.block(agentsReadme, "agentDefaults:").text, "tokenSecretRef:", "url: "+s.service+"\n      tokenSecretRef:", 1)
	if err := os.WriteFile(filepath.Join(s.dir, "agents-values.yaml"), []byte(values), 0o600); err != nil {
		s.Fatal(err)
	}
	there := *s
	there.at = s.dir
	install, uninstall := s.block(agentsReadme, "helm install"), s.block(agentsReadme, "helm uninstall")
	if out := there.run(install.at, install.text); strings.Count(out, "condition met") != 2 {
		s.Errorf("%s: not both are Ready:\n%s", install.at, out)
	}
	there.run(uninstall.at, uninstall.text)
	if left := s.run("what is left", "kubectl get agents,cloudprojects --output=name"); left != "" {
		s.Errorf("%s leaves %s", uninstall.at, left)
	}
}

// line is the only line of a page's blocks that matches.
func (s *shell) line(path, pattern string) string {
	s.Helper()
	var found []string
	for _, b := range parse(path, s.read(path)).shell() {
		found = append(found, regexp.MustCompile(`(?m)^`+pattern+`$`).FindAllString(b.text, -1)...)
	}
	if len(found) != 1 {
		s.Fatalf("%s has %q for %s, want one", path, found, pattern)
	}
	return found[0]
}

// span is the only inline code of a page that matches.
func (s *shell) span(path, pattern string) string {
	s.Helper()
	var found []string
	p := parse(path, s.read(path))
	for _, span := range p.spans(p.tree) {
		if regexp.MustCompile(pattern).MatchString(span.text) {
			found = append(found, span.text)
		}
	}
	if len(found) != 1 {
		s.Fatalf("%s has %q for %s, want one", path, found, pattern)
	}
	return found[0]
}
