/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"

	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
)

// Condition is a condition of an Agent, empty if it is absent.
func Condition(a *v1alpha1.Agent, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(a.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// Ready waits until this generation of the Agent is Ready, and returns it.
func (w *World) Ready(name string) *v1alpha1.Agent {
	w.Helper()
	return w.until("Agent "+name+" becomes Ready", name, func(a *v1alpha1.Agent) error {
		ready := Condition(a, v1alpha1.ConditionReady)
		if ready.Status != metav1.ConditionTrue || a.Status.ObservedGeneration != a.Generation {
			return fmt.Errorf("%s %s: %s (generation %d of %d)", ready.Status, ready.Reason, ready.Message,
				a.Status.ObservedGeneration, a.Generation)
		}
		return nil
	})
}

// Stalled waits until the Agent is Stalled for a reason, with a message that contains all words.
func (w *World) Stalled(name, reason string, words ...string) *v1alpha1.Agent {
	w.Helper()
	return w.Becomes(name, v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, words...)
}

// NotReady waits until the Agent is not Ready for a reason, with a message that contains all words.
func (w *World) NotReady(name, reason string, words ...string) *v1alpha1.Agent {
	w.Helper()
	return w.Becomes(name, v1alpha1.ConditionReady, metav1.ConditionFalse, reason, words...)
}

// Becomes waits until a condition of this generation is as given.
func (w *World) Becomes(name, kind string, status metav1.ConditionStatus, reason string, words ...string) *v1alpha1.Agent {
	w.Helper()
	what := fmt.Sprintf("Agent %s becomes %s=%s (%s)", name, kind, status, reason)
	return w.until(what, name, func(a *v1alpha1.Agent) error {
		c := Condition(a, kind)
		if c.Status != status || c.Reason != reason || c.ObservedGeneration != a.Generation {
			return fmt.Errorf("conditions are %s", Describe(a))
		}
		for _, word := range words {
			if !strings.Contains(c.Message, word) {
				return fmt.Errorf("the message %q lacks %q", c.Message, word)
			}
		}
		return nil
	})
}

// Describe is an Agent's conditions in one line.
func Describe(a *v1alpha1.Agent) string {
	var all []string
	for _, c := range a.Status.Conditions {
		all = append(all, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return strings.Join(all, "; ")
}

// One checks that the cloud has exactly one agent, that of the Agent, with its Secret, and returns it.
func (w *World) One(name string) cloud.Agent {
	w.Helper()
	a, remote := w.Get(name), w.Remote()
	if len(remote) != 1 {
		w.Fatalf("the cloud has %d agents, want 1", len(remote))
	}
	if a.Status.ID != remote[0].ID {
		w.Fatalf("status.id is %q, the cloud has %q", a.Status.ID, remote[0].ID)
	}
	w.HoldsToken(name, remote[0])
	return remote[0]
}

// Retains reports whether the remote agent and its Secrets outlive the Agent.
func Retains(a *v1alpha1.Agent) bool {
	adopted := a.Spec.AgentID != "" && a.Status.Origin != v1alpha1.OriginRegistered && a.Spec.DeletionPolicy == ""
	return adopted || a.Spec.SyncPolicy == v1alpha1.SyncObserve || a.Spec.DeletionPolicy == v1alpha1.DeletionRetain
}

// HoldsToken checks that the Secret has the ID and the token of the remote agent, and that the Agent owns it unless it
// retains.
func (w *World) HoldsToken(name string, remote cloud.Agent) {
	w.Helper()
	a := w.Get(name)
	if a.Status.TokenSecretRef == nil {
		w.Fatal("the status names no token Secret")
	}
	s := w.Secret(a.Status.TokenSecretRef.Name)
	if s == nil {
		w.Fatalf("there is no Secret %q", a.Status.TokenSecretRef.Name)
	}
	if id := string(s.Data[v1alpha1.IDKey]); id != remote.ID {
		w.Fatalf("the Secret has id %q, want %q", id, remote.ID)
	}
	if !cloud.NewToken(string(s.Data[v1alpha1.TokenKey])).Equal(remote.Token) {
		w.Fatal("the Secret has another token than the remote agent")
	}
	owned := len(s.OwnerReferences) == 1 && s.OwnerReferences[0].UID == a.UID
	if owned == Retains(a) || !owned && len(s.OwnerReferences) > 0 {
		w.Fatalf("the Secret is owned by %v, and the Agent retains it: %v", s.OwnerReferences, Retains(a))
	}
}

// Delete deletes an Agent and does not wait.
func (w *World) Delete(name string) {
	w.Helper()
	if err := w.Client.Delete(context.Background(), w.Get(name)); err != nil {
		w.Fatal(err)
	}
}

// Check requests a sync and waits until the operator has handled the request.
func (w *World) Check(name string) {
	w.Helper()
	w.Poke(name)
	w.Handled(name)
}

// Handled waits until the operator has handled the last request to sync an Agent. Then no earlier reconciliation runs.
func (w *World) Handled(name string) *v1alpha1.Agent {
	w.Helper()
	return w.until("the request to sync Agent "+name+" is handled", name, func(a *v1alpha1.Agent) error {
		if a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] {
			return errors.New(Describe(a))
		}
		return nil
	})
}

// Gone waits until there is no such Agent.
func (w *World) Gone(name string) {
	w.Helper()
	w.Eventually("Agent "+name+" goes", func() error {
		var a v1alpha1.Agent
		err := w.Client.Get(context.Background(), w.Key(name), &a)
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(fmt.Errorf("it is there: %s", Describe(&a)), err)
	})
}

// Events waits for the events of an Agent until there are at least n, and returns their reasons.
func (w *World) Events(name string, n int) []string {
	w.Helper()
	var reasons []string
	w.Eventually(fmt.Sprintf("%d events of %s", n, name), func() error {
		var list eventsv1.EventList
		if err := w.Client.List(context.Background(), &list, client.InNamespace(w.Namespace)); err != nil {
			return err
		}
		reasons = nil
		for _, e := range list.Items {
			if e.Regarding.Kind == "Agent" && e.Regarding.Name == name {
				reasons = append(reasons, e.Reason)
			}
		}
		if len(reasons) < n {
			return fmt.Errorf("only %v", reasons)
		}
		return nil
	})
	return reasons
}
