/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package torture_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
)

// TestChangesDuringADowntimeAreApplied changes everything while no operator runs.
func TestChangesDuringADowntimeAreApplied(t *testing.T) {
	t.Parallel()
	w, p := alone(t, "down", cloudtest.Settings{PageSize: 10})
	operator := w.start("operator")
	ctx := context.Background()
	// Derived machine IDs, because a chosen one is only free once the deletion of its Agent completes.
	var all []subject
	for number := range 40 {
		all = append(all, newSubject(number, p, number < 20))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	create := func(s subject, variant uint64) {
		t.Helper()
		if s.fromConfigMap() {
			must(w.configure(ctx, s.configMap(), s.config(variant)))
		}
		made, err := w.declare(ctx, s.key, s.spec(variant))
		must(err)
		if !made {
			t.Fatalf("Agent %s is still there", s.key)
		}
	}
	for _, s := range all[:28] {
		create(s, uint64(s.number)<<8)
	}
	w.agree(time.Minute)
	operator.signal(t, syscall.SIGTERM)
	if code := operator.ends(t, time.Minute); code != 0 {
		t.Errorf("the operator ended with %d", code)
	}
	w.whileDown(all, create, must)
	w.start("operator")
	// External changes in the cloud are found by the resync, within a minute of the start.
	took := w.agree(2 * time.Minute)
	t.Logf("%d Agents agreed %s after the start", len(w.all()), took.Round(100*time.Millisecond))
	if err := panics(w.logs); err != nil {
		t.Error(err)
	}
}

// whileDown changes each subject: the first 28 have Agents, the others do not.
func (w *world) whileDown(all []subject, create func(subject, uint64), must func(error)) {
	w.t.Helper()
	ctx := context.Background()
	for _, s := range all {
		variant := 0xabcdef<<8 | uint64(s.number)
		switch {
		case s.number < 6:
			must(w.redeclare(ctx, s.key, s.spec(variant)))
		case s.number < 12:
			must(w.retract(ctx, s.key))
		case s.number < 16:
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: s.key.Name + "-token"}}
			must(w.kube.Delete(ctx, secret))
		case s.number == 18:
			w.straySecret(s)
		case s.number < 20 && s.fromConfigMap():
			must(w.configure(ctx, s.configMap(), s.config(variant)))
		case s.number < 24:
			(&worker{world: w}).meddle(s, func(server *cloudtest.Server, id string) {
				server.Mutate(id, func(a *cloud.Agent) { a.Version = "v0.0.1" })
			})
		case s.number < 26:
			(&worker{world: w}).meddle(s, func(server *cloudtest.Server, id string) { server.Remove(id) })
		case s.number < 28:
			// Changed and then deleted: the change has no effect.
			must(w.redeclare(ctx, s.key, s.spec(variant)))
			must(w.retract(ctx, s.key))
		case s.number < 36:
			create(s, variant)
		case s.number < 38:
			// Created and deleted without an operator.
			create(s, variant)
			must(w.retract(ctx, s.key))
		default:
			create(s, variant)
			must(w.poke(ctx, s.key, fmt.Sprint(s.number)))
		}
	}
}

// straySecret makes a Secret as left by an operator that exits between writing the Secret and the status, if its
// name changes afterwards.
func (w *world) straySecret(s subject) {
	w.t.Helper()
	var agent v1alpha1.Agent
	if err := w.kube.Get(context.Background(), s.key, &agent); err != nil {
		w.t.Fatal(err)
	}
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.key.Namespace, Name: s.key.Name + "-stray",
		Labels:          map[string]string{v1alpha1.LabelAgentUID: string(agent.UID)},
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(&agent, v1alpha1.GroupVersion.WithKind("Agent"))},
	}})
}
