/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func (s *show) secretStep(ctx context.Context) {
	s.sh(ctx, "kubectl describe secret web-logs-token")
	s.sh(ctx, "kubectl get secret web-logs-token \\\n"+
		"    -o custom-columns='OWNER:.metadata.ownerReferences[*].kind,NAME:.metadata.ownerReferences[*].name'")
	agent := s.agent(ctx, "web-logs")
	var secret corev1.Secret
	s.read(ctx, "web-logs-token", &secret)
	s.check("it holds the keys id and token, and nothing else", func() error {
		keys := slices.Sorted(maps.Keys(secret.Data))
		return equal(strings.Join(keys, " "), v1alpha1.IDKey+" "+v1alpha1.TokenKey)
	})
	s.check("its id is the one in the Agent's status", func() error {
		return equal(string(secret.Data[v1alpha1.IDKey]), agent.Status.ID)
	})
	s.check("its owner is the Agent", func() error {
		if len(secret.OwnerReferences) != 1 {
			return fmt.Errorf("it has %d owners", len(secret.OwnerReferences))
		}
		return equal(secret.OwnerReferences[0].UID, agent.UID)
	})
	s.check("Calyptia Cloud accepts the token as the agent's", func() error {
		var itself remoteAgent
		token := string(secret.Data[v1alpha1.TokenKey])
		if err := s.service.call(ctx, http.MethodGet, "/v1/agents/"+agent.Status.ID, token, "", &itself); err != nil {
			return err
		}
		return equal(itself.ID, agent.Status.ID)
	})
}

func (s *show) updateStep(ctx context.Context) {
	const version = "v4.1.0"
	id := s.agent(ctx, "web-logs").Status.ID
	before := s.remote(ctx, id)
	s.sh(ctx, `kubectl patch agent web-logs --type=merge -p '{"spec":{"version":"`+version+`"}}'`)
	s.sh(ctx, fmt.Sprintf("kubectl wait agent web-logs --for=condition=Ready --timeout=%v", patience))
	after := s.remote(ctx, id)
	s.check("the remote agent was updated: "+before.Version+" -> "+after.Version, func() error {
		if before.Version == version {
			return errors.New("it had this version before")
		}
		before.Version = version // and nothing else
		return equal(after, before)
	})

	s.say("\nThe configuration of node-logs is a ConfigMap; a change there is applied at once.")
	id = s.agent(ctx, "node-logs").Status.ID
	before = s.remote(ctx, id)
	s.sh(ctx, "kubectl get configmap node-logs -o yaml | sed 's/log_level: info/log_level: debug/' | kubectl apply -f -")
	config, err := s.declaredConfig(ctx, s.agent(ctx, "node-logs"))
	if err != nil {
		return
	}
	s.comes(ctx, "the remote agent has the new content of the ConfigMap", func(ctx context.Context) error {
		if after, err = s.service.agent(ctx, id); err != nil {
			return err
		}
		if config == before.RawConfig {
			return errors.New("the ConfigMap did not change")
		}
		if after.RawConfig != config {
			return errors.New("its rawConfig differs")
		}
		return nil
	})
	s.difference(before.RawConfig, after.RawConfig)
	s.sh(ctx, "kubectl events --for agent/node-logs")
}

// difference shows the lines that differ between texts of as many lines.
func (s *show) difference(before, after string) {
	if s.err != nil {
		return
	}
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	for i := range min(len(was), len(is)) {
		if was[i] != is[i] {
			s.say("    - %s\n    + %s", was[i], is[i])
		}
	}
}

func (s *show) driftStep(ctx context.Context) {
	agent := s.agent(ctx, "web-logs")
	before := s.remote(ctx, agent.Status.ID)
	s.changeExternally(ctx, "web-logs", agent.Status.ID, `{"version":"v3.2.0","rawConfig":"[INPUT]\n    Name dummy\n"}`)
	changed := s.remote(ctx, agent.Status.ID)
	s.sh(ctx, "kubectl annotate agent web-logs --overwrite cloud.calyptia.com/reconcile-at=drift")
	s.handled(ctx, "web-logs", "drift")
	after := s.remote(ctx, agent.Status.ID)
	s.check("web-logs has syncPolicy Enforce, so the drift is corrected: "+changed.Version+" -> "+after.Version, func() error {
		if changed == before {
			return errors.New("it was not changed")
		}
		return equal(after, before)
	})
	events := s.sh(ctx, "kubectl events --for agent/web-logs")
	s.check("an event names the fields", func() error {
		return contains(events, "DriftCorrected", "version", "rawConfig")
	})

	s.say("")
	id := s.agent(ctx, "node-logs").Status.ID
	s.changeExternally(ctx, "node-logs", id, `{"version":"v3.2.0"}`)
	s.sh(ctx, "kubectl annotate agent node-logs cloud.calyptia.com/reconcile-at=drift")
	s.sh(ctx, fmt.Sprintf("kubectl wait agent node-logs --for=condition=Drifted --timeout=%v", patience))
	message := s.sh(ctx, `kubectl get agent node-logs -o jsonpath='{.status.conditions[?(@.type=="Drifted")].message}{"\n"}'`)
	s.check("node-logs has syncPolicy OnChange, so the change stays and is reported", func() error {
		return errors.Join(contains(message, "version"), equal(s.remote(ctx, id).Version, "v3.2.0"), s.err)
	})
}

// handled waits until the operator handled the annotation.
func (s *show) handled(ctx context.Context, name, value string) {
	s.sh(ctx, fmt.Sprintf("kubectl wait agent %s --for=jsonpath='{.status.lastHandledReconcileAt}'=%s --timeout=%v", name, value, patience))
}

func contains(text string, words ...string) error {
	for _, word := range words {
		if !strings.Contains(text, word) {
			return fmt.Errorf("it lacks %q", word)
		}
	}
	return nil
}
