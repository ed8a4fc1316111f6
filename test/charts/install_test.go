/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package charts_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
)

// TestInstallUpgradeUninstall is the life of an installation in the documented order.
func TestInstallUpgradeUninstall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var previous values
	if err := yaml.Unmarshal(must(os.ReadFile(filepath.Join("testdata", "previous-values.yaml")))(t), &previous); err != nil {
		t.Fatal(err)
	}
	file := s.operatorValues(previous)
	s.helm("install", operatorName, previousChart(t), "--namespace", operatorNamespace, "--create-namespace", "--values", file)
	if s.hasNewField() {
		t.Error("the previous CRD has the new field already")
	}
	s.run()
	s.agents()
	s.remote(2)
	before := s.identities()
	s.types("upgrade")
	if !s.hasNewField() {
		t.Error("the upgrade left the CRD as it was")
	}
	s.running.stop()
	s.run()
	s.tests()
	s.remote(2)
	s.sameAs(before)

	s.agents("--set", "agents.db-logs=null", "--set", "agents.web-logs.spec.version=v4.0.1")
	if err := await.Until(t.Context(), "the agent stays", func(context.Context) error {
		return s.one("v4.0.1")
	}); err != nil {
		t.Error(err)
	}
	s.types("uninstall")
	s.remote(0)
	s.nothingHangs()
	if !strings.Contains(strings.Join(must(s.left())(t), " "), "calyptia") {
		s.types("crds")
		return
	}
	t.Errorf("uninstalled, there are still %s", must(s.left())(t))
}

// one finds the only remaining remote agent, with a version.
func (s *site) one(version string) error {
	agents := s.cloud.Agents(s.projectID)
	if len(agents) != 1 || agents[0].Version != version {
		return fmt.Errorf("there are %d", len(agents))
	}
	return nil
}

// left are the remaining Deployments.
func (s *site) left() ([]string, error) {
	var list appsv1.DeploymentList
	err := s.c.List(s.Context(), &list)
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, err
}

// identities are the UIDs of the Agents, and the IDs of their remote agents.
func (s *site) identities() map[string]string {
	s.Helper()
	var list v1alpha1.AgentList
	if err := s.c.List(s.Context(), &list); err != nil {
		s.Fatal(err)
	}
	all := map[string]string{}
	for i := range list.Items {
		agent := &list.Items[i]
		all[agent.Name] = string(agent.UID) + " " + agent.Status.ID
		if agent.DeletionTimestamp != nil || agent.Status.ID == "" {
			s.Errorf("Agent %s is being deleted since %v, and its ID is %q", agent.Name, agent.DeletionTimestamp, agent.Status.ID)
		}
	}
	return all
}

// sameAs checks that the Agents are the same as before.
func (s *site) sameAs(before map[string]string) {
	s.Helper()
	if diff := cmp.Diff(before, s.identities()); diff != "" {
		s.Errorf("the Agents -before +after:\n%s", diff)
	}
}

// TestTheOperatorIsUninstalledFirst runs both solutions of the README.
func TestTheOperatorIsUninstalledFirst(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		way    string
		remote int
	}{{"again", 0}, {"give-up", 2}} {
		t.Run(row.way, func(t *testing.T) {
			s := newSite(t)
			s.operatorValues(nil)
			s.types("install")
			s.run()
			s.agents()
			s.remote(2)

			s.helm("uninstall", operatorName, "--namespace", operatorNamespace)
			s.running.stop()
			s.helm("uninstall", "agents", "--namespace", agentsNamespace)
			var agents v1alpha1.AgentList
			if err := s.c.List(t.Context(), &agents); err != nil || len(agents.Items) != 2 || agents.Items[0].DeletionTimestamp == nil {
				t.Fatalf("nothing waits for the operator: %v, %v", agents.Items, err)
			}
			if row.way == "again" {
				s.operatorAgain()
			}
			s.types(row.way)
			s.nothingHangs()
			s.remote(row.remote)
			s.types("crds")
		})
	}
}

// operatorAgain runs the operator as soon as its Deployment exists, as a kubelet does, while the commands continue.
func (s *site) operatorAgain() {
	s.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		key := client.ObjectKey{Namespace: operatorNamespace, Name: operatorName}
		err := await.Until(s.Context(), "no Deployment appears", func(ctx context.Context) error {
			return s.c.Get(ctx, key, &appsv1.Deployment{})
		})
		if err != nil {
			s.Error(err)
			return
		}
		s.run()
	}()
	s.Cleanup(func() { <-done })
}

// TestAgentsChart sets defaults, and Agents that differ from them.
func TestAgentsChart(t *testing.T) {
	v := values{"commonLabels": values{"team": "logging"}, "commonAnnotations": values{"a": "b"},
		"cloudProjects": values{"calyptia": values{"token": "secret-token", "annotations": values{"a": "own"}}},
		"agentDefaults": values{"type": "fluentbit", "version": "v4.0.0", "rawConfigFrom": values{"configMapKeyRef": values{"name": "c", "key": "k"}}},
		"agents": values{
			"plain": nil,
			"bare":  values{},
			"own":   values{"labels": values{"x": "y"}, "spec": values{"version": "v5.0.0", "rawConfig": "[INPUT]\n"}},
		}}
	objects := render(t, agentsChart, "logging", v)
	project := typed[v1alpha1.CloudProject](t, only(t, objects, "CloudProject"))
	if project.Spec.TokenSecretRef.Name != only(t, objects, "Secret").GetName() || project.Annotations["a"] != "own" {
		t.Errorf("the CloudProject: %+v", project)
	}
	var names []string
	for _, object := range ofKind(objects, "Agent") {
		agent := typed[v1alpha1.Agent](t, object)
		names = append(names, agent.Name)
		if agent.Spec.ProjectRef == nil || agent.Spec.ProjectRef.Name != "calyptia" || agent.Labels["team"] != "logging" || agent.Annotations["a"] != "b" {
			t.Errorf("the Agent: %+v", agent)
		}
		if agent.Name == "own" && (agent.Spec.RawConfigFrom != nil || agent.Spec.Version != "v5.0.0" || agent.Labels["x"] != "y") ||
			agent.Name == "bare" && (agent.Spec.RawConfigFrom == nil || agent.Spec.Version != "v4.0.0") {
			t.Errorf("the Agent: %+v", agent)
		}
	}
	if want := []string{"bare", "own"}; !slices.Equal(names, want) {
		t.Errorf("Agents %s, want %s", names, want)
	}
	c := admin(t, must(shared())(t))
	createNamespace(t, c, "agents-chart")
	for _, object := range render(t, agentsChart, "agents-chart", v) {
		admitted(t, c, object)
	}
}
