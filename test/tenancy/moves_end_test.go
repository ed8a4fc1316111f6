/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
	"github.com/calyptia-agent-operator/operator/internal/cloud"
	"github.com/calyptia-agent-operator/operator/internal/testenv/await"
	"github.com/calyptia-agent-operator/operator/test/harness"
)

// ends deletes the thief's Agents. Nothing of them is left, and the victim works as before.
func (w *walk) ends() {
	w.Helper()
	w.did("the end")
	w.clear()
	w.server.empty()
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { allows(cp, w.victim.Namespace, w.thief.Namespace) })
	w.victimChecks()
	w.victimWorks()
	for _, a := range w.all() {
		w.remove(a.Name)
	}
	gone := func() bool { return len(w.all()) == 0 }
	if !w.brief(2*w.Settings.Slack, gone) {
		for _, a := range w.all() {
			w.did("Agent %s stays: %s", a.Name, harness.Describe(&a))
			w.excuse(a.Name, "left behind by request: "+harness.Condition(&a, v1alpha1.ConditionReady).Reason)
			w.edit(a.Name, annotated(v1alpha1.AnnotationOrphan, "true"))
		}
	}
	await.Eventually(w, "the thief's Agents are deleted", func() error {
		for _, a := range w.all() {
			return fmt.Errorf("%s is there: %s", a.Name, harness.Describe(&a))
		}
		return nil
	})
	w.guard.check()
	w.nothingLeft()
	w.Logf("seed %d: at most %d requests of a move", w.seed, w.guard.most)
}

// victimChecks has the victim's Agents be checked: each is Ready afterwards.
func (w *walk) victimChecks() {
	w.Helper()
	w.did("the victim's Agents are checked")
	var names []string
	for _, v := range w.guard.existing {
		if v.agent != "" && v.agent != "suspended" {
			w.victim.Poke(v.agent)
			names = append(names, v.agent)
		}
	}
	await.Within(w, promptly, "the victim's Agents are checked, and are Ready", func() error {
		for _, name := range names {
			a := w.victim.Get(name)
			if a.Status.LastHandledReconcileAt != a.Annotations[v1alpha1.AnnotationReconcileAt] ||
				harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
				return fmt.Errorf("%s is %s", name, harness.Describe(a))
			}
		}
		return nil
	})
}

// victimWorks: a change by the victim is applied, and a new Agent registered and deleted, without delay.
func (w *walk) victimWorks() {
	w.Helper()
	const config = "# changed by the victim\n"
	began := time.Now()
	w.guard.released("derived")
	w.victim.Change("derived", func(a *v1alpha1.Agent) { a.Spec.RawConfig = config })
	w.victim.Apply("new", in(w.Namespace, sharedProject))
	await.Within(w, promptly, "the victim's change is applied, and its new Agent is Ready", func() error {
		a := w.victim.Get("new")
		if remote, _ := w.Cloud.Agent(w.victim.Get("derived").Status.ID); remote.RawConfig != config {
			return errors.New(harness.Describe(w.victim.Get("derived")))
		}
		if harness.Condition(a, v1alpha1.ConditionReady).Status != "True" {
			return errors.New(harness.Describe(a))
		}
		return nil
	})
	w.victim.Delete("new")
	w.victim.Gone("new")
	w.victim.Ready("derived")
	w.guard.changed("derived")
	w.Logf("the victim waited %s", time.Since(began).Round(time.Millisecond))
}

// released ends the protection of an agent that the victim changes itself.
func (g *guard) released(agent string) {
	g.check()
	for i, v := range g.existing {
		if v.agent == agent {
			g.existing = append(g.existing[:i:i], g.existing[i+1:]...)
			return
		}
	}
}

// changed protects it again, as it is now.
func (g *guard) changed(agent string) {
	g.handled = len(g.Cloud.Requests())
	a := g.victim.Get(agent)
	remote, _ := g.Cloud.Agent(a.Status.ID)
	g.protect(&target{Agent: remote, agent: agent})
}

// nothingLeft: the shared project has the victims' agents, and of the thief's only those that are documented to be left.
func (w *walk) nothingLeft() {
	w.Helper()
	victims := map[string]bool{}
	for _, v := range w.guard.existing {
		victims[v.ID] = true
	}
	for _, remote := range w.Remote() {
		why := w.thiefs.excused[remote.MachineID]
		switch {
		case victims[remote.ID], w.variant.granted && isElsewhere(remote):
		case why == "":
			w.Errorf("remote agent %s (name %s, machine ID %s) is left in the shared project", remote.ID, remote.Name, remote.MachineID)
		default:
			w.did("remote agent %s (name %s) is left: %s", remote.ID, remote.Name, why)
		}
	}
}

// isElsewhere: whoever may write a status can have these agents changed.
func isElsewhere(remote cloud.Agent) bool {
	return remote.Name == "elsewhere" || remote.Name == "hidden-elsewhere" || remote.Name == "retained"
}
