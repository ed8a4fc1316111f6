/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLifeByHelm3 runs the documented life of an installation with Helm 3.
func TestLifeByHelm3(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	bin := t.TempDir()
	if err := os.Symlink(must(helm3Path())(t), filepath.Join(bin, "helm")); err != nil {
		t.Fatal(err)
	}
	s.first = bin
	if output := s.shell("helm version --template='{{.Version}}'"); !strings.HasPrefix(output, "v3.") {
		t.Fatalf("this is Helm %s", output)
	}
	s.operatorValues(values{"image": values{"repository": "registry.example.com/calyptia-agent-operator", "tag": "test"}})
	s.types("install")
	s.run()
	token := valuesFile(t, values{"cloudProjects": values{"calyptia": values{
		"token": s.cloud.AddProject(s.projectID).Reveal(), "spec": values{"url": s.url}}}})
	agents := must(filepath.Abs(filepath.Join("testdata", "agents-values.yaml")))(t)
	s.shell("helm install agents charts/calyptia-agents --namespace logging --values " + agents + " --values " + token)
	s.shell("kubectl wait agents --all --namespace logging --for=condition=Ready --timeout=1m")
	s.remote(2)
	before := s.identities()
	s.upgrade("TAG=newer\n")
	s.running.stop()
	s.run()
	played := s.played()
	s.shell("helm test calyptia-agent-operator --namespace " + operatorNamespace)
	if err := <-played; err != nil {
		t.Error(err)
	}
	s.sameAs(before)
	s.types("uninstall")
	s.remote(0)
	s.nothingHangs()
	s.running.stop()
	s.types("crds")
}
