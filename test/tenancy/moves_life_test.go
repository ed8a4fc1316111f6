/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// life is what the thief does with one Agent. Every life has the same grammar: something is learned at one endpoint, the evidence is
// changed, the Agent is moved, and what was learned is to be believed at another endpoint. Everything else about it is drawn.
type life struct {
	*walk
	name   string
	target *target
	// coherent: what the thief's server shows fits the target, and the Agent, so that it is believed there.
	coherent bool
	// doubt: something between the operator and the API has the first registration in doubt; named: its response named the target.
	doubt, named bool
	place        string
	step         int
}

// newLife begins a life. Some lives have the name of an earlier Agent, or of the victim's.
func (w *walk) newLife(d draws, number int) *life {
	l := &life{walk: w, name: fmt.Sprintf("thief-%d", number), target: w.drawTarget(d), coherent: !d.oneOf(4)}
	switch {
	case len(w.thiefs.agents) > 0 && d.oneOf(4):
		l.name = pick(d, w.thiefs.agents...)
	case l.target.agent != "" && d.oneOf(6):
		l.name = l.target.agent
	}
	return l
}

// drawTarget draws a target: more often one that the thief can name, and whose machine ID no Agent of the cluster derives.
func (w *walk) drawTarget(d draws) *target {
	var all []*target
	for _, v := range w.victims {
		all = append(all, v, v)
		if !v.hidden && (v.agent == "" || v.agent == "chosen") {
			all = append(all, v, v, v)
		}
	}
	return pick(d, all...)
}

// next makes the next step, and reports whether it was the last.
func (l *life) next(d draws) (ended bool) {
	l.Helper()
	step := l.step
	l.step++
	switch step {
	case 0:
		l.begins(d)
	case 1, 3, 5:
		if l.doubt && d.oneOf(2) {
			l.register(d)
		} else {
			l.meddles(d)
		}
		if d.oneOf(2) {
			l.meddles(d)
		}
	case 2:
		l.moves(d, pick(d, l.places(6, 7, 2, 1)...))
	case 4:
		l.moves(d, pick(d, l.places(8, 1, 1, 1)...))
	default:
		l.leaves(d)
		return true
	}
	if !l.named || step > 1 || d.oneOf(3) { // Else it is moved while it is in doubt.
		l.pause(d, l.name)
	}
	return false
}

// places are the CloudProjects, each as often as it is to be drawn, but not the current one.
func (l *life) places(shared, liar, owned, pretends int) (all []string) {
	for _, p := range []struct {
		name string
		odds int
	}{{sharedProject, shared}, {liarProject, liar}, {ownedProject, owned}, {pretendsProject, pretends}} {
		for range p.odds {
			if p.name != l.place {
				all = append(all, p.name)
			}
		}
	}
	return all
}

// at has an Agent refer to a CloudProject.
func (w *walk) at(project string) change {
	if project == sharedProject {
		return in(w.Namespace, project)
	}
	return in(w.thief.Namespace, project)
}

// knownID is an ID that the thief may have its Agent adopt in a CloudProject.
func (l *life) knownID(d draws, place string) string {
	decoy, there := l.decoys[l.target.MachineID], place == ownedProject || place == pretendsProject
	if decoy != "" && (l.target.hidden || there || !l.coherent && d.oneOf(5)) {
		return decoy
	}
	if l.target.hidden {
		return ""
	}
	return l.target.ID
}

// begins creates the Agent.
func (l *life) begins(d draws) {
	l.Helper()
	if l.thiefs.disallowed && !d.oneOf(4) {
		l.allow(true)
	}
	l.place = pick(d, l.places(7, 5, 2, 1)...)
	l.paint(d)
	fault := "none"
	if l.place == sharedProject {
		fault = l.interfere(d)
		l.doubt, l.named = fault != "none", fault == "swapped"
	}
	a := l.thief.NewAgent(l.name, l.at(l.place))
	a.Spec.MachineID = l.machineID(d)
	a.Spec.DeletionPolicy = pick(d, "", "", v1alpha1.DeletionDelete, v1alpha1.DeletionRetain)
	if adopted := l.knownID(d, l.place); adopted != "" && (l.place == sharedProject && d.oneOf(8) || l.place != sharedProject && d.oneOf(2)) {
		a.Spec = v1alpha1.AgentSpec{ProjectRef: a.Spec.ProjectRef, AgentID: adopted, DeletionPolicy: a.Spec.DeletionPolicy}
		if d.oneOf(8) {
			a.Spec.SyncPolicy = v1alpha1.SyncObserve
		}
	}
	if d.oneOf(3) {
		a.Spec.SessionSecretRef = &v1alpha1.LocalSecretReference{}
	}
	if d.oneOf(8) {
		a.Spec.TokenSecretRef = &v1alpha1.LocalSecretReference{Name: pick(d, "loot", "loot", l.name+"-loot", l.name+"-loot", "token-of-own")}
	}
	if d.oneOf(5) {
		a.Finalizers = []string{v1alpha1.AgentFinalizer}
	}
	if d.oneOf(12) && len(l.thiefs.intents) > 0 {
		annotated(v1alpha1.AnnotationRegistrationIntent, pick(d, l.thiefs.intents...))(a)
		l.did("   with an intent that was seen before")
	}
	if d.oneOf(8) {
		a.OwnerReferences = l.ownedByLiar()
	}
	l.did("create Agent %s in %s, for %s: machineID %q, agentID %q, %s, finalizers %v, token Secret %v, fault %s",
		l.name, l.place, l.target.Name, a.Spec.MachineID, a.Spec.AgentID, a.Spec.DeletionPolicy, a.Finalizers, a.Spec.TokenSecretRef, fault)
	l.thiefs.agents = append(l.thiefs.agents, l.name)
	if l.place == sharedProject && (fault == "filtered" || fault == "swapped" || l.variant.settings.NoList && fault != "none") {
		l.excuse(l.name, "something between the operator and the API: "+fault)
	}
	l.tried(l.Client.Create(context.Background(), a))
	if a.Spec.DeletionPolicy == v1alpha1.DeletionRetain || a.Spec.AgentID != "" {
		l.excuse(l.name, "retained")
	}
}

// ownedByLiar is a reference to the CloudProject of the thief's server.
func (l *life) ownedByLiar() []metav1.OwnerReference {
	var cp v1alpha1.CloudProject
	if l.Client.Get(context.Background(), l.thief.Key(liarProject), &cp) != nil {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "CloudProject", Name: cp.Name, UID: cp.UID}}
}

// machineID is the machine ID that the Agent declares.
func (l *life) machineID(d draws) string {
	if l.doubt && l.coherent {
		return ""
	}
	claims := 2
	if l.coherent {
		claims = 4
	}
	switch choice := d.IntN(8); {
	case choice < claims, l.coherent && l.place == liarProject:
		return l.target.MachineID
	case choice == 5:
		return fmt.Sprint("machine-of-the-thief-", d.IntN(2))
	case choice == 6:
		return l.derivedID(l.name)
	default:
		return ""
	}
}

// paint has the thief's server show what fits the life.
func (l *life) paint(d draws) {
	p := picture{machineID: l.target.MachineID, lists: d.oneOf(2), moods: pick(d, 0, 0, 12, 4),
		token: pick(d, "", "", "***", "a-token-of-the-thief-123456")}
	if !l.target.hidden && (l.coherent || d.oneOf(2)) {
		p.id = l.target.ID
	}
	switch {
	case l.coherent:
		p.moods = 0
	case d.oneOf(6):
		p.machineID = l.derivedID(l.name)
	}
	l.server.show(p)
	l.did("   the thief's server registers %q and shows machine ID %q with token %q, lists %t, moods %d",
		p.id, p.machineID, p.token, p.lists, p.moods)
}

// moves has the Agent refer to another endpoint, with what was learned at the former.
func (l *life) moves(d draws, to string) {
	l.Helper()
	if d.oneOf(2) {
		l.clear()
	}
	l.paint(d)
	adopted, intent := "", ""
	if to != sharedProject && (l.coherent || d.oneOf(2)) {
		adopted = l.knownID(d, to)
	}
	switch back := to == sharedProject; {
	case back && (l.doubt || d.oneOf(2)):
		intent = l.earlierIntent(d, l.name)
	case !back && l.doubt && !l.named && !d.oneOf(3):
		intent = unreadable // Until it is restored, no registration is in doubt.
	}
	l.did("Agent %s moves from %s to %s, agentID %q, intent %q", l.name, l.place, to, adopted, intent)
	l.excuse(l.name, "moved to another CloudProject")
	l.edit(l.name, func(a *v1alpha1.Agent) {
		l.at(to)(a)
		if adopted != "" && a.Spec.AgentID == "" {
			a.Spec.AgentID = adopted
			if a.Status.ID == "" {
				a.Spec.RawConfig, a.Spec.Version = "", ""
			}
		}
		if intent != "" {
			annotated(v1alpha1.AnnotationRegistrationIntent, intent)(a)
		}
	})
	l.place = to
}

// earlierIntent is an intent that the thief saw: more often the last of this Agent.
func (w *walk) earlierIntent(d draws, name string) string {
	seen, own := len(w.thiefs.intents) > 0, w.thiefs.lastIntent[name]
	if seen && (d.oneOf(3) || own == "") {
		return pick(d, w.thiefs.intents...)
	}
	return own
}

// leaves ends the life.
func (l *life) leaves(d draws) {
	l.Helper()
	switch d.IntN(6) {
	case 0:
		l.did("Agent %s stays", l.name)
	case 1:
		l.did("Agent %s is deleted and created again", l.name)
		l.remove(l.name)
		l.pause(d, l.name)
		l.tried(l.Client.Create(context.Background(), l.thief.NewAgent(l.name, l.at(l.place))))
	case 2:
		l.did("Agent %s is deleted in the foreground", l.name)
		l.remove(l.name, client.PropagationPolicy(metav1.DeletePropagationForeground))
	default:
		l.did("Agent %s is deleted", l.name)
		l.remove(l.name)
	}
	l.pause(d, l.name)
	if d.oneOf(2) {
		l.clear()
	}
}

// remove deletes an Agent of the thief and does not wait.
func (w *walk) remove(name string, options ...client.DeleteOption) {
	w.Helper()
	a := &v1alpha1.Agent{ObjectMeta: metav1.ObjectMeta{Namespace: w.thief.Namespace, Name: name}}
	w.tried(w.Client.Delete(context.Background(), a, options...))
}

// owned is a reference to an Agent.
func owned(name string, uid types.UID) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: v1alpha1.GroupVersion.String(), Kind: "Agent", Name: name, UID: uid}}
}
