/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package story_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The garbage collector deletes the Secrets of deleted Agents even if it missed the deletion: it compares UIDs whenever
// it processes a Secret, in particular after its own restart. So the operator need not search for them.
func TestSecretsOfAgents_DeletedUnseen_AreCollected(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	w.Ready(w.Apply("web"))
	owned := func(name, agent string, uid types.UID) {
		w.Create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: w.Namespace, Name: name, Labels: map[string]string{v1alpha1.LabelAgentUID: string(uid)},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: agent, UID: uid}},
		}})
	}
	owned("of-nobody", "gone", "0b7c3f5e-0c1d-4e2f-8a9b-1c2d3e4f5a6b")
	owned("of-a-namesake", "web", "5f0c9f6e-3c67-4b62-9d3c-6e2a3e9d7c11")
	w.Eventually("they are collected", func() error {
		if w.Secret("of-nobody") != nil || w.Secret("of-a-namesake") != nil {
			return errors.New("one is there")
		}
		return nil
	})
	w.HoldsToken("web", w.One("web"))
}
