/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// played simulates the kubelet for the pod of the next `helm test`.
func (s *site) played() <-chan error {
	played := make(chan error, 1)
	go func() {
		defer close(played) // A failure ends only this goroutine.
		played <- s.playKubelet(s.Context())
	}()
	return played
}

// helmTest runs `helm test`.
func (s *site) helmTest() error {
	s.Helper()
	played := s.played()
	out, err := helm(s, s.plane, "test", operatorName, "--namespace", operatorNamespace, "--timeout=60s")
	if err != nil {
		err = fmt.Errorf("helm test: %w\n%s", err, out)
	}
	return errors.Join(err, <-played)
}

// tests runs `helm test`, which has to succeed.
func (s *site) tests() {
	s.Helper()
	if err := s.helmTest(); err != nil {
		s.Error(err)
	}
}

// away uninstalls an operator that has nothing left to manage.
func (s *site) away() {
	s.Helper()
	if s.running != nil {
		s.running.stop()
	}
	s.helm("uninstall", operatorName, "--namespace", operatorNamespace)
	s.types("crds")
}

// TestHelmTestInEachMode runs the commands of the test pod with the rights that the chart grants it.
func TestHelmTestInEachMode(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]values{
		"namespaced":      {"watchNamespaces": []string{agentsNamespace}, "clusterID": "blue"},
		"lease elsewhere": {"leaderElection": values{"namespace": agentsNamespace}},
		"shard":           {"shard": "shard in (a, b)"},
		"alone":           {"replicaCount": 1, "leaderElection": values{"enabled": false}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.operatorValues(v)
			s.types("install")
			s.run()
			s.tests()
			s.away()
		})
	}
}

// TestHelmTestFails when the operator is not available, and when it is available but not the leader.
func TestHelmTestFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.operatorValues(values{"tests": values{"timeout": "1s"}})
	s.types("install")
	if err := s.helmTest(); err == nil || !strings.Contains(err.Error(), "--for=condition=Available") {
		t.Errorf("without a pod: %v", err)
	}
	s.available()
	if err := s.helmTest(); err == nil || !strings.Contains(err.Error(), "lease/calyptia-agent-operator.cloud.calyptia.com") {
		t.Errorf("without a leader: %v", err)
	}
	s.away()
}

// commandsOf are the indented lines of the notes.
func commandsOf(notes string) string {
	var lines []string
	for line := range strings.SplitSeq(notes, "\n") {
		if command, found := strings.CutPrefix(line, "  "); found {
			lines = append(lines, command)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// TestNotesWordForWord runs the commands that helm prints after the installation.
func TestNotesWordForWord(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		give      values
		namespace string
	}{
		"cluster-wide": {nil, "default"},
		"namespaced":   {values{"watchNamespaces": []string{agentsNamespace}, "clusterID": "blue"}, agentsNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.atPublicService()
			s.operatorValues(merge(values{"allowedHosts": []string{publicHost}}, row.give))
			s.types("install")
			s.run()
			token := s.cloud.AddProject(s.projectID).Reveal()
			commands := commandsOf(s.helm("get", "notes", operatorName, "--namespace", operatorNamespace))
			commands = regexp.MustCompile("<[^<>\n]+>").ReplaceAllLiteralString(commands, token)
			played := s.played()
			output := s.shell("{\n" + commands + "} <<'END'\n" + token + "\nEND\n") // Where they read the token, it is typed.
			if err := <-played; err != nil {
				t.Error(err)
			}
			for _, words := range []string{"Phase:          Succeeded", "secret/calyptia-project-token created",
				"NAME: agents", "cloudproject.cloud.calyptia.com/calyptia"} {
				if !strings.Contains(output, words) {
					t.Errorf("the output lacks %q:\n%s", words, output)
				}
			}
			s.shell("kubectl wait cloudproject calyptia --for=condition=Ready --timeout=1m --namespace " + row.namespace)
			s.helm("uninstall", "agents", "--wait", "--namespace", row.namespace)
			s.shell("kubectl delete secret calyptia-project-token --namespace " + row.namespace)
			s.nothingHangs()
			s.away()
		})
	}
}
