/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// sampleAgents are the Agents of config/samples.
var sampleAgents = []string{"web-logs", "audit-logs", "node-logs", "payments-logs"}

func (s *show) controlPlaneStep(ctx context.Context) {
	s.say("etcd, kube-apiserver and kube-controller-manager, on loopback; nothing leaves this machine.")
	began := time.Now()
	s.check("the control plane is ready", func() error { return s.startControlPlane(ctx) })
	s.say("  (%.1f s)", time.Since(began).Seconds())
	s.command("export KUBECONFIG=" + filepath.Join(stageDir, "kubeconfig"))
	kinds := s.sh(ctx, "kubectl api-resources --api-group=cloud.calyptia.com")
	s.check("Agent and CloudProject are served", func() error {
		if !strings.Contains(kinds, "Agent\n") || !strings.Contains(kinds, "CloudProject\n") {
			return errors.New("kubectl does not list them")
		}
		return nil
	})
	s.sh(ctx, "kubectl create namespace "+namespace)
	s.sh(ctx, "kubectl config set-context --current --namespace="+namespace)
}

func (s *show) operatorStep(ctx context.Context, abort context.CancelCauseFunc) {
	s.startService()
	s.say("The fake listens at %s, with one project; no account and no network is needed.", s.service.url)
	s.say("The operator has the rights of its ServiceAccount, as it would in a pod, and nothing more.")
	s.sh(ctx, "kubectl create namespace "+systemNamespace)
	s.sh(ctx, "kubectl apply -k config/rbac | grep manager-role")
	if s.err != nil {
		return
	}
	operator, err := newOperator(s.stage.controlPlane.Kubeconfig)
	if err != nil {
		s.err = err
		return
	}
	s.command(strings.Join(operator.command.Args, " \\\n    ") + " 2> " + operator.log + " &")
	if s.err = operator.start(); s.err != nil {
		return
	}
	s.operator = operator
	go func() {
		<-operator.child.Done()
		abort(errors.New("the operator exited unexpectedly"))
	}()
	s.check("/readyz reports that the operator is ready", func() error { return operator.ready(ctx) })
}

func (s *show) samplesStep(ctx context.Context) {
	if s.err = writeManifests(s.service); s.err != nil {
		return
	}
	s.sh(ctx, "cat "+filepath.Join(manifestDir, "kustomization.yaml"))
	watch, err := newStopwatch(ctx, s.kube)
	if err != nil {
		s.err = err
		return
	}
	measured := make(chan error, 1)
	go func() { measured <- watch.run(sampleAgents) }()
	s.sh(ctx, "kubectl apply -k "+manifestDir)
	s.sh(ctx, fmt.Sprintf("kubectl wait agents --all --for=condition=Ready --timeout=%v", patience))
	if s.err != nil {
		return
	}
	s.check(fmt.Sprintf("each of the %d Agents became Ready", len(sampleAgents)), func() error { return <-measured })
	if s.err != nil {
		return
	}
	s.say("  From the creation of each Agent to Ready, as a watch saw it:")
	for _, name := range sampleAgents {
		s.say("    %-14s %5.2f s", name, watch.took(name).Seconds())
	}
	s.sh(ctx, "kubectl get cloudprojects")
	s.sh(ctx, "kubectl get agents")
	s.check("the CloudProject read its project ID from the token", func() error {
		var project v1alpha1.CloudProject
		s.read(ctx, "calyptia", &project)
		return equal(project.Status.ProjectID, s.service.projectID)
	})
}

func (s *show) remoteStep(ctx context.Context) {
	agents := s.listRemote(ctx)
	s.check("each Agent has exactly one remote agent, which matches its spec", func() error {
		if err := equal(len(agents), len(sampleAgents)); err != nil {
			return fmt.Errorf("the number of remote agents: %w", err)
		}
		byID := map[string]remoteAgent{}
		for _, agent := range agents {
			byID[agent.ID] = agent
		}
		for _, name := range sampleAgents {
			agent := s.agent(ctx, name)
			config, err := s.declaredConfig(ctx, agent)
			if err != nil {
				return err
			}
			want := remoteAgent{
				ID: agent.Status.ID, Name: agent.Spec.Name, Type: string(agent.Spec.Type), Version: agent.Spec.Version,
				MachineID: agent.Status.MachineID, Status: "unhealthy", RawConfig: config,
			}
			if err := equal(byID[agent.Status.ID], want); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	})
	s.check("each was registered by a single POST", func() error {
		return equal(s.fake.Count(http.MethodPost, cloudtest.RouteAgents), len(sampleAgents))
	})
}

// listRemote shows the agents that Calyptia Cloud lists.
func (s *show) listRemote(ctx context.Context) (agents []remoteAgent) {
	if s.err != nil {
		return nil
	}
	s.say("GET %s/v1/projects/%s/agents", s.service.url, s.service.projectID)
	if agents, s.err = s.service.agents(ctx); s.err != nil {
		return nil
	}
	table := tabwriter.NewWriter(s.printer, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "  ID\tNAME\tTYPE\tVERSION\tMACHINE ID")
	for _, a := range agents {
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\t%s\t%s\n", a.ID, a.Name, a.Type, a.Version, a.MachineID)
	}
	s.err = table.Flush()
	return agents
}

// declaredConfig is the configuration that an Agent declares, inline or in a ConfigMap or Secret.
func (s *show) declaredConfig(ctx context.Context, agent *v1alpha1.Agent) (string, error) {
	from := agent.Spec.RawConfigFrom
	switch {
	case from == nil:
		return agent.Spec.RawConfig, s.err
	case from.ConfigMapKeyRef != nil:
		var source corev1.ConfigMap
		s.read(ctx, from.ConfigMapKeyRef.Name, &source)
		return source.Data[from.ConfigMapKeyRef.Key], s.err
	default:
		var source corev1.Secret
		s.read(ctx, from.SecretKeyRef.Name, &source)
		return string(source.Data[from.SecretKeyRef.Key]), s.err
	}
}

// equal compares what is with what should be.
func equal[T comparable](got, want T) error {
	if got != want {
		return fmt.Errorf("it is %+v, want %+v", got, want)
	}
	return nil
}
