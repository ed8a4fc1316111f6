/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The cluster's ID changed, the remote agent is lost, and the operator dies after it registered the Agent again: it looks for what it
// registered under the machine ID that it sent.
func TestClusterID_ChangedBeforeAnAgentIsLost_DeathAfterThePost_OneAgent(t *testing.T) {
	for _, kind := range []kind{listUnique, listDuplicates} {
		t.Run(servers[kind].name, func(t *testing.T) {
			s := newScene(t, servers[kind].settings)
			settle(s)
			s.Stop()
			s.Settings.ClusterID = "another-id"
			s.Start()
			s.Poke("web")
			before := s.Handled("web").Status.ID
			s.Cloud.ResetRequests()
			s.die(lose, after(postRemote))
			s.revive(false)
			s.Eventually("what it registered is recorded", func() error {
				a := s.Get("web")
				if a.Status.ID == before || a.Status.ID == "" || a.Annotations[v1alpha1.AnnotationRegistrationIntent] != a.Status.RegistrationIntent ||
					!meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
					return fmt.Errorf("it is %s", harness.Describe(a))
				}
				return nil
			})
			s.Poke("web")
			s.Handled("web")
			if n := len(s.Remote()); n != 1 {
				t.Errorf("%d remote agents for one Agent; calls %s", n, s.calls())
			}
		})
	}
}
