/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package agentset_test

import (
	"fmt"
	"testing"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// As for an Agent and a CloudProject: the first Events of an AgentSet that changes all the time are written one by one, later ones of
// a reason are a series.
func TestEvents_OfAFlappingAgentSet_AreBounded(t *testing.T) {
	t.Parallel()
	w := harness.New(t, cloudtest.Settings{})
	for _, name := range []string{"a", "b"} {
		w.SetSecret(name+"-0", map[string]string{"somebody": "else's"})
	}
	w.StatefulSet("logs", 1)
	w.AgentSet("logs", "logs", func(set *v1alpha1.AgentSet) { set.Spec.TargetRef.Kind = v1alpha1.TargetStatefulSet })
	w.SetReady("logs", 1)
	const changes = 25
	for i := range changes {
		name := []string{"a", "b"}[i%2]
		w.ChangeSet("logs", func(set *v1alpha1.AgentSet) { set.Spec.Sessions.SecretName = name })
		w.SetBecomes("logs", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretConflict, name+"-0")
	}
	var list eventsv1.EventList
	w.Eventually("the later ones are counted", func() error {
		if err := w.Client.List(t.Context(), &list, client.InNamespace(w.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.Kind == "AgentSet" && e.Series != nil {
				return nil
			}
		}
		return fmt.Errorf("none of %d Events has a series", len(list.Items))
	})
}
