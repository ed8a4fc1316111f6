/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package cloudproject

import (
	"testing"

	"k8s.io/utils/clock"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/apiserver"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/connection"
)

// A sandbox becomes production: the owner takes a permission back, and then replaces the token. A reconciliation that began with the former
// spec reads the new token: that is not configured, because the Agents that were judged by the former spec would be served with it.
func TestConnect_FormerSpecAndALaterToken_IsNotConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cp, _ := w.withCopy()
	w.restart(func() {
		policy := cloud.URLPolicy{AllowedHosts: []string{"127.0.0.1"}, AllowInsecureHTTP: true}
		projects := connection.NewRegistry(connection.Options{Policy: policy, Clock: clock.RealClock{}})
		direct := copies{w.Client, w.Client}
		n := connector{projects, loader{w.Client, direct}, direct, clock.RealClock{}, Delays{}.withDefaults()}
		former := cp.DeepCopy()
		w.Edit(cp, func() { cp.Spec.Adoption = v1alpha1.AdoptionAllowed })
		production := w.cloud.AddProject(projectID)
		w.hide(production.Reveal())
		w.putToken(production.Reveal())
		if _, err := n.connect(t.Context(), former, &memo{}); !apiserver.Outdated(err) || projects.Lookup(cp.UID) != nil {
			t.Errorf("error %v, configured: %v", err, projects.Lookup(cp.UID) != nil)
		}
		if _, err := n.connect(t.Context(), cp, &memo{}); err != nil || projects.Lookup(cp.UID) == nil {
			t.Errorf("the current spec: error %v", err)
		}
	})
}
