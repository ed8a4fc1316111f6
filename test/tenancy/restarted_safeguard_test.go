/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// One team deletes its own remote agents in Calyptia Cloud, fewer than half of the project's, and has them registered again. The operator was
// restarted just before, so it has not checked the other agents yet. The snapshot shows them: that is no mass deletion, and blocks nobody.
func TestSafeguard_FewerThanHalfMissing_AfterARestart_BlocksNobody(t *testing.T) {
	t.Parallel()
	w, tenant := harness.Shared(t, cloudtest.Settings{})
	const owners, guests = 20, 12
	for i := range owners {
		w.Apply(fmt.Sprint("web-", i))
	}
	for i := range guests {
		w.Guest(tenant, fmt.Sprint("guest-", i))
	}
	for i := range owners {
		w.Ready(fmt.Sprint("web-", i))
	}
	var ids []string
	for i := range guests {
		ids = append(ids, tenant.Ready(fmt.Sprint("guest-", i)).Status.ID)
	}
	w.Stop()
	for i, id := range ids {
		w.Cloud.Remove(id)
		tenant.Poke(fmt.Sprint("guest-", i))
	}
	w.Start(tenant.Namespace)
	w.Eventually("the agents are registered again", func() error {
		if meta.IsStatusConditionTrue(w.Project().Status.Conditions, v1alpha1.ConditionStalled) {
			t.Fatalf("%d of %d remote agents exist, and registration is paused for all teams", len(w.Remote()), owners+guests)
		}
		if n := len(w.Remote()); n != owners+guests {
			return fmt.Errorf("%d remote agents", n)
		}
		return nil
	})
	w.Ready(w.Apply("new"))
}
