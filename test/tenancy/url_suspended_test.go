/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud/cloudtest"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// The url of the CloudProject changes to another name of the same API while a team's Agent is suspended: what it has recorded stays its own,
// whether another team names the agent, where it may adopt, or its machine ID.
func TestURL_ChangesWhileSuspended_NobodyElseGetsTheAgent(t *testing.T) {
	noLists := cloudtest.Settings{NoList: true, UniqueMachineIDs: cloudtest.MachineIDUpsert}
	for name, row := range map[string]struct {
		victim    func(*v1alpha1.Agent)
		named     bool // by spec.agentID; else by spec.machineID
		restarted bool
		settings  cloudtest.Settings
		reason    string
	}{
		"explicit":            {victim: machine("machine-v"), named: true, reason: v1alpha1.ReasonRemoteAlreadyManaged},
		"derived, restarted":  {victim: func(*v1alpha1.Agent) {}, named: true, restarted: true, reason: v1alpha1.ReasonRemoteAlreadyManaged},
		"no lists":            {victim: machine("machine-v"), settings: noLists, reason: v1alpha1.ReasonMachineIDConflict},
		"no lists, restarted": {victim: machine("machine-v"), settings: noLists, restarted: true, reason: v1alpha1.ReasonMachineIDConflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, tenant := harness.Shared(t, row.settings, func(_ *harness.World, cp *v1alpha1.CloudProject) {
				if row.named {
					cp.Spec.Adoption = v1alpha1.AdoptionAllowed
				}
			})
			w.Ready(w.Apply("first"))
			id := w.Ready(w.Apply("victim", row.victim)).Status.ID
			remote, _ := w.Cloud.Agent(id)
			w.Change("victim", func(a *v1alpha1.Agent) { a.Spec.Suspend = true })
			w.Becomes("victim", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
			there := alias(w)
			w.ChangeProject(func(cp *v1alpha1.CloudProject) { cp.Spec.URL = there })
			recordedAt(w, "first", w.Get("first").Status.ID, there)
			if row.restarted {
				w.Stop()
				w.Start(tenant.Namespace)
			}
			w.Guest(tenant, "thief", configured("# thief\n"), func(a *v1alpha1.Agent) {
				if a.Spec.MachineID = remote.MachineID; row.named {
					a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: id, RawConfig: a.Spec.RawConfig}
				}
			})
			tenant.Stalled("thief", row.reason)
			tenant.KeepsNothingOf("thief-token", remote)
			w.Change("victim", func(a *v1alpha1.Agent) { a.Spec.Suspend = false })
			recordedAt(w, "victim", id, there)
			if now, _ := w.Cloud.Agent(id); now.RawConfig != remote.RawConfig || len(w.Remote()) != 2 {
				t.Errorf("the configuration is %q, and there are %d agents", now.RawConfig, len(w.Remote()))
			}
		})
	}
}
