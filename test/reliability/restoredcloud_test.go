/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Calyptia Cloud was restored from a backup that lacks the younger agents, which are more than half. The older ones are checked first. The
// operator does not fill the installation again: it pauses registration at the tenth agent.
func TestSafeguard_RestoredCloudLacksTheYoungerHalf_IsNotFilledAgain(t *testing.T) {
	t.Parallel()
	const older, younger = 12, 24
	w := harness.New(t, cloudtest.Settings{}, func(_ *harness.World, cp *v1alpha1.CloudProject) {
		cp.Spec.ResyncInterval = &metav1.Duration{Duration: time.Hour} // Only the checks below.
	})
	name := func(i int) string { return fmt.Sprint("web-", i) }
	for i := range older + younger {
		w.Apply(name(i))
	}
	for i := range older + younger {
		w.Ready(name(i))
	}
	for i := range younger {
		w.Cloud.Remove(w.Get(name(older + i)).Status.ID)
	}
	for i := range older {
		w.Check(name(i))
	}
	w.Cloud.ResetRequests()
	for i := range younger {
		w.Poke(name(older + i))
	}
	w.Eventually("registration is paused", func() error {
		stalled := meta.FindStatusCondition(w.Project().Status.Conditions, v1alpha1.ConditionStalled)
		if stalled == nil || stalled.Reason != v1alpha1.ReasonMassDeletionDetected {
			return fmt.Errorf("Stalled is %+v", stalled)
		}
		return nil
	})
	if again := w.Cloud.Count(http.MethodPost, cloudtest.RouteAgents); again > 9 {
		t.Errorf("%d of %d agents are missing, and %d were registered again", younger, older+younger, again)
	}
}
