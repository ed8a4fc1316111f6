/*
Copyright 2026 The Calyptia Agent Operator Authors.

SPDX-License-Identifier: Apache-2.0
*/

package tenancy_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/calyptia-agent-operator/operator/api/v1alpha1"
)

// anyMove is a move that is no step of the current life.
func (w *walk) anyMove(d draws) {
	w.Helper()
	name := w.life.name
	if len(w.thiefs.agents) > 0 && d.oneOf(2) {
		name = pick(d, w.thiefs.agents...)
	}
	switch d.IntN(18) {
	case 0, 1:
		w.restart(d)
	case 2:
		w.poke(name)
	case 3:
		w.life.paint(d)
	case 4, 5:
		w.changeProject(d)
	case 6:
		w.overwrite(d, name)
	case 7:
		w.policy(d, name)
	case 8, 9, 10:
		w.plain(d)
	case 11:
		w.rival(d)
	case 12:
		w.allow(w.thiefs.disallowed)
	case 13:
		w.copySecret(d)
	case 14:
		w.did("Agent %s may leave its agent behind", name)
		w.excuse(name, "the annotation orphan")
		w.edit(name, annotated(v1alpha1.AnnotationOrphan, "true"))
	case 15:
		w.rotate(d)
	case 16:
		w.lose(d)
	default:
		w.forgeStatus(d, name)
	}
	w.pause(d, name)
}

// changeProject changes a CloudProject of the thief.
func (w *walk) changeProject(d draws) {
	w.Helper()
	name := pick(d, ownedProject, pretendsProject, liarProject)
	cp := &v1alpha1.CloudProject{ObjectMeta: metav1.ObjectMeta{Namespace: w.thief.Namespace, Name: name}}
	what := d.IntN(6)
	w.did("CloudProject %s: %s", name, []string{"another server", "as at first", "claims the shared project", "another token",
		"an unusable CA", "deleted, and created again"}[what])
	for _, agent := range w.thiefs.agents {
		w.excuse(agent, "a CloudProject changed")
	}
	if what == 5 {
		w.tried(w.Client.Delete(context.Background(), cp))
		w.tried(w.Client.Create(context.Background(), w.thiefsProject(name)))
		return
	}
	if err := w.Client.Get(context.Background(), client.ObjectKeyFromObject(cp), cp); err != nil {
		w.tried(err)
		return
	}
	base := cp.DeepCopy()
	switch what {
	case 0:
		if cp.Spec.URL == w.HTTP.URL {
			cp.Spec.URL = w.server.URL
		} else {
			cp.Spec.URL = w.HTTP.URL
		}
	case 1:
		cp.Spec = w.thiefsProject(name).Spec
	case 2:
		cp.Spec.ProjectID = w.ProjectID
	case 3:
		cp.Spec.TokenSecretRef.Name = "token-of-" + pick(d, ownedProject, pretendsProject)
	default:
		cp.Spec.CABundle = &v1alpha1.KeySource{ConfigMapKeyRef: &v1alpha1.ConfigMapKeyReference{Name: "kube-root-ca.crt", Key: "missing"}}
	}
	w.tried(w.Client.Patch(context.Background(), cp, client.MergeFrom(base)))
}

// plain creates an Agent in the shared project and deletes it later, with no other move about it: nothing of it may be left.
func (w *walk) plain(d draws) {
	w.Helper()
	name := fmt.Sprint("plain-", d.IntN(3))
	if w.found(name) != nil {
		w.did("Agent %s is deleted", name)
		w.remove(name)
		return
	}
	w.did("create Agent %s", name)
	w.tried(w.Client.Create(context.Background(), w.thief.NewAgent(name, w.at(sharedProject))))
}

// rival creates a second Agent for what the current life is about.
func (w *walk) rival(d draws) {
	w.Helper()
	name := w.life.name + "-rival"
	place := pick(d, sharedProject, sharedProject, liarProject)
	a := w.thief.NewAgent(name, w.at(place))
	if id := w.life.knownID(d, place); id != "" && place == liarProject {
		a.Spec.AgentID = id
	} else {
		a.Spec.MachineID = w.derivedID(w.life.name)
	}
	w.did("create Agent %s in %s with machineID %q, agentID %q", name, place, a.Spec.MachineID, a.Spec.AgentID)
	w.thiefs.agents = append(w.thiefs.agents, name)
	w.excuse(name, "it claims the agent of another Agent")
	w.tried(w.Client.Create(context.Background(), a))
}

// allow has the owner of the shared project allow the thief or not.
func (w *walk) allow(allowed bool) {
	w.Helper()
	w.did("the shared CloudProject allows the thief: %t", allowed)
	w.thiefs.disallowed = !allowed
	namespaces := []string{w.victim.Namespace}
	if allowed {
		namespaces = append(namespaces, w.thief.Namespace)
	}
	w.ChangeProject(func(cp *v1alpha1.CloudProject) { allows(cp, namespaces...) })
}

// copySecret creates a Secret like one that was there before, under another name.
func (w *walk) copySecret(d draws) {
	w.Helper()
	if len(w.thiefs.secrets) == 0 {
		return
	}
	before := pick(d, w.thiefs.secrets...)
	name := pick(d, "loot", w.life.name+"-token", w.life.name+"-session", "plain-0-token")
	w.did("Secret %s becomes a copy of Secret %s", name, before.Name)
	w.excuse(w.life.name, "its Secret was forged")
	w.excuse("plain-0", "its Secret was forged")
	w.tried(w.Client.Create(context.Background(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.thief.Namespace, Name: name, Labels: before.Labels, Annotations: before.Annotations,
			OwnerReferences: before.OwnerReferences},
		Data: before.Data,
	}))
}

// forgeStatus writes the status of an Agent, if the thief may: a record of the victim's agent at the shared endpoint.
func (w *walk) forgeStatus(d draws, name string) {
	w.Helper()
	a := w.found(name)
	if !w.variant.granted || a == nil {
		return
	}
	victim := w.life.target
	if victim.hidden {
		return
	}
	w.did("the status of Agent %s becomes that of %s", name, victim.Name)
	w.excuse(name, "its status was forged")
	base := a.DeepCopy()
	a.Status.ID, a.Status.MachineID, a.Status.Origin = victim.ID, victim.MachineID, v1alpha1.OriginRegistered
	a.Status.URL, a.Status.ProjectID = w.HTTP.URL, w.ProjectID
	if d.oneOf(2) {
		a.Status.CloudProjectUID = string(w.Project().UID)
	}
	if d.oneOf(3) {
		a.Status.ID, a.Status.DuplicatesToDelete = "", []string{victim.ID}
	}
	w.tried(w.Client.Status().Patch(context.Background(), a, client.MergeFrom(base)))
}
