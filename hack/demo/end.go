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
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

func (s *show) mistakeStep(ctx context.Context) {
	s.say("The API server refuses an invalid spec:")
	s.refused(ctx, latestAgent, "must be a version such as v4.0.0")
	s.say("\nWhat only Calyptia Cloud can reject shows in the conditions of the Agent:")
	s.sh(ctx, fleetAgent)
	s.sh(ctx, fmt.Sprintf("kubectl wait agent edge-logs --for=condition=Stalled --timeout=%v", patience))
	s.sh(ctx, "kubectl get agent edge-logs")
	message := s.sh(ctx, `kubectl get agent edge-logs -o jsonpath='{.status.conditions[?(@.type=="Ready")].message}{"\n"}'`)
	s.check("it is not Ready, and the message names the field", func() error {
		conditions := s.agent(ctx, "edge-logs").Status.Conditions
		if meta.IsStatusConditionTrue(conditions, v1alpha1.ConditionReady) {
			return errors.New("it is Ready")
		}
		return contains(message, "fleet not found", "spec.fleet")
	})
	s.sh(ctx, `kubectl patch agent edge-logs --type=merge -p '{"spec":{"fleet":{"id":"`+fleetID+`"}}}'`)
	s.sh(ctx, fmt.Sprintf("kubectl wait agent edge-logs --for=condition=Ready --timeout=%v", patience))
	id := s.agent(ctx, "edge-logs").Status.ID
	s.check("once corrected, it is registered", func() error { return errors.Join(equal(s.remote(ctx, id).Name, "edge-logs"), s.err) })
}

func (s *show) deletionStep(ctx context.Context) {
	s.fluentBit.stop() // It runs as payments-logs.
	gone, retained := s.agent(ctx, "payments-logs"), s.agent(ctx, "audit-logs")
	s.sh(ctx, "kubectl delete agent payments-logs")
	s.sh(ctx, fmt.Sprintf("kubectl wait secret payments-logs-agent payments-logs-session --for=delete --timeout=%v", patience))
	s.check("its remote agent is deleted", func() error {
		_, err := s.service.agent(ctx, gone.Status.ID)
		if status, ok := errors.AsType[*statusError](err); !ok || status.status != http.StatusNotFound {
			return fmt.Errorf("reading it should end in a 404, and ends in %w", err)
		}
		return nil
	})
	s.check("its Secrets are deleted by the garbage collector of Kubernetes", func() error {
		for _, name := range []string{"payments-logs-agent", "payments-logs-session"} {
			err := s.kube.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &corev1.Secret{})
			if !apierrors.IsNotFound(err) {
				return fmt.Errorf("reading %s ends in %w", name, err)
			}
		}
		return nil
	})

	s.say("\naudit-logs has deletionPolicy Retain: it stays in Calyptia Cloud, and its Secret stays here.")
	s.sh(ctx, "kubectl delete agent audit-logs")
	s.check("its remote agent stays", func() error {
		return errors.Join(equal(s.remote(ctx, retained.Status.ID).Name, "audit-logs"), s.err)
	})
	s.check("its Secret stays, without an owner", func() error {
		var secret corev1.Secret
		s.read(ctx, "audit-logs-token", &secret)
		return errors.Join(equal(len(secret.OwnerReferences), 0), equal(string(secret.Data[v1alpha1.IDKey]), retained.Status.ID), s.err)
	})
	s.sh(ctx, "kubectl get agents")
	s.listRemote(ctx)
}

// silenceStep looks for tokens where none may be, and for errors.
func (s *show) silenceStep(ctx context.Context) {
	if s.err != nil {
		return
	}
	log, err := os.ReadFile(s.operator.log)
	if err != nil {
		s.err = err
		return
	}
	objects, err := s.controlPlane.Kubectl(ctx, "get", "agents,cloudprojects,events", "--all-namespaces", "-o", "yaml").Output()
	if err != nil {
		s.err = err
		return
	}
	tokens := []string{s.service.token.Reveal()}
	for _, agent := range s.fake.Agents(s.service.projectID) {
		tokens = append(tokens, agent.Token.Reveal())
	}
	for _, place := range []struct{ name, text, present string }{
		{"the operator's log", string(log), "Registered"},
		{"any Agent, CloudProject or event", string(objects), "DriftCorrected"},
	} {
		s.check("no token is in "+place.name, func() error {
			for _, token := range tokens {
				if strings.Contains(place.text, token) {
					return errors.New("one does")
				}
			}
			return contains(place.text, place.present) // Otherwise it is the wrong text.
		})
	}
	s.check("the operator logged no error and no panic", func() error {
		for line := range strings.Lines(string(log)) {
			if !strings.HasPrefix(line, `{"level":"info"`) {
				return fmt.Errorf("it logged %s", strings.TrimSpace(line))
			}
		}
		return nil
	})
}
