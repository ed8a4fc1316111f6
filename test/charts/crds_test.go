/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// TestTheCRDsOutliveTheRelease stops a release from bringing the CRDs, brings them again, and uninstalls it: the Agents stay
// unchanged. Then a release of another name takes ownership, as the README says.
func TestTheCRDsOutliveTheRelease(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	file := s.operatorValues(values{"fullnameOverride": operatorName}) // The objects of the other release have the same name.
	s.types("install")
	s.run()
	s.agents()
	s.remote(2)
	before := s.identities()
	for _, install := range []string{"false", "true", "false"} {
		s.helm("upgrade", operatorName, operatorChart, "--namespace", operatorNamespace, "--values", file, "--set", "crds.enabled="+install)
		brought := strings.Contains(s.helm("get", "manifest", operatorName, "--namespace", operatorNamespace), "kind: CustomResourceDefinition")
		if s.crd().DeletionTimestamp != nil || brought != (install == "true") {
			t.Errorf("with crds.enabled=%s the release brings them: %v; deleted %v", install, brought, s.crd().DeletionTimestamp)
		}
		s.sameAs(before)
	}
	s.running.stop()
	s.helm("uninstall", operatorName, "--namespace", operatorNamespace)

	_, err := helm(t, s.plane, "install", "another-name", operatorChart, "--namespace", operatorNamespace, "--values", file)
	if err == nil || !strings.Contains(err.Error(), "invalid ownership metadata") {
		t.Errorf("under another name: %v", err)
	}
	s.helm("install", "another-name", operatorChart, "--namespace", operatorNamespace, "--values", file, "--set", "crds.enabled=false")
	s.helm("uninstall", "another-name", "--namespace", operatorNamespace)
	s.types("another-name")
	if owner := s.crd().Annotations["meta.helm.sh/release-name"]; owner != "another-name" {
		t.Errorf("the CRDs are those of the release %q", owner)
	}
	s.run()
	s.sameAs(before)
	s.agents("--set", "agents.db-logs=null", "--set", "agents.web-logs.spec.version=v4.0.1")
	if err := await.Until(t.Context(), "the agent stays", func(context.Context) error { return s.one("v4.0.1") }); err != nil {
		t.Error(err)
	}
	s.helm("uninstall", "agents", "--namespace", agentsNamespace, "--wait")
	s.remote(0)
	s.nothingHangs()
	s.running.stop()
	s.helm("uninstall", "another-name", "--namespace", operatorNamespace)
	s.types("crds")
}

// TestTheCRDsAreDeletedFirst runs that section of docs/upgrade-uninstall.md: the operator deletes the remote agents, or leaves
// those whose Agents are annotated.
func TestTheCRDsAreDeletedFirst(t *testing.T) {
	t.Parallel()
	for name, remote := range map[string]int{"deleted": 0, "kept": 2} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.operatorValues(nil)
			s.types("install")
			s.run()
			s.agents()
			s.remote(2)
			if remote > 0 {
				s.running.stop()
				s.shell(strings.ReplaceAll(readme(t, "crds"), "delete", "delete --wait=false"))
				s.waiting(2)
				s.shell(line(t, doc(t, "upgrade-uninstall.md"), "kubectl annotate agents"))
				s.run()
				s.shell("kubectl wait --for=delete --timeout=1m crd agentsets.cloud.calyptia.com agents.cloud.calyptia.com cloudprojects.cloud.calyptia.com")
			} else {
				s.types("crds")
			}
			s.remote(remote)
			s.running.stop()
			s.helm("uninstall", operatorName, "--namespace", operatorNamespace)
			// Helm no longer finds the kinds of its release of the Agents.
			s.shell("kubectl delete secrets --all --namespace " + agentsNamespace)
		})
	}
}

// waiting waits until this number of Agents is being deleted.
func (s *site) waiting(want int) {
	s.Helper()
	err := await.Until(s.Context(), "the Agents do not wait", func(ctx context.Context) error {
		var list v1alpha1.AgentList
		if err := s.c.List(ctx, &list, client.InNamespace(agentsNamespace)); err != nil {
			return err
		}
		got := 0
		for i := range list.Items {
			if list.Items[i].DeletionTimestamp != nil {
				got++
			}
		}
		if got != want {
			return fmt.Errorf("%d of %d do", got, len(list.Items))
		}
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
}
