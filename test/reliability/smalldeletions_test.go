/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package reliability_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// Eight of sixteen agents are deleted in Calyptia Cloud and registered again, and two others six minutes later. Neither is a mass deletion.
func TestSafeguard_TwoSmallDeletions_AreNoMassDeletion(t *testing.T) {
	t.Parallel()
	const agents = 16
	w := harness.New(t, cloudtest.Settings{})
	name := func(i int) string { return fmt.Sprint("web-", i) }
	for i := range agents {
		w.Apply(name(i))
	}
	for i := range agents {
		w.Ready(name(i))
		w.Check(name(i))
	}
	lose := func(from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			w.Cloud.Remove(w.Get(name(i)).Status.ID)
		}
		for i := range agents {
			w.Poke(name(i))
		}
		for i := range agents {
			w.Eventually(name(i)+" has a remote agent again", func() error {
				a := w.Get(name(i))
				if _, there := w.Cloud.Agent(a.Status.ID); !there || harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
					return errors.New(harness.Describe(a))
				}
				return nil
			})
		}
	}
	lose(0, 8)
	w.Clock.Step(6 * time.Minute)
	for i := range agents {
		w.Check(name(i))
	}
	lose(8, 10)
}
